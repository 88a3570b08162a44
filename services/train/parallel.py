"""Use every core with one Python thread each, and one OpenMP thread within each of them.

OpenMP threads wait for each other after every iteration, so one busy core delays all of them; independent Python threads lose
only the time of that core. scikit-learn releases the GIL while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, chain
from typing import TypeVar

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stagekit.workers.worker_pool import InMemoryParts, PersistedParts, iter_slices

T = TypeVar("T")
Rows = NDArray[np.float64]
"""Standardised features of some customers, shape (n_rows, n_features)."""

CHUNK_ROWS = 131_072  # a few MB: fits into the cache of a core, and is large enough to amortise a call of scikit-learn


@contextmanager
def single_threaded_pool(max_workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Provide a pool with one thread for each core that this process may use; a container's CPU limit counts.

    Parameters
    ----------
    max_workers : int or None
        Upper bound on the number of threads. The remaining cores are shared among them for OpenMP.

    Yields
    ------
    ThreadPoolExecutor
    """
    n_workers = min(cpu_count(), max_workers or cpu_count())
    n_openmp = max(1, cpu_count() // n_workers)
    # The OpenMP limit applies to the thread that sets it, the BLAS limit to the process.
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(n_workers, initializer=threadpool_limits, initargs=(n_openmp, "openmp")) as pool,
    ):
        yield pool


class Chunks:
    """All rows of a table, in chunks of at most CHUNK_ROWS rows; the chunks are the same wherever the parts are kept.

    Parameters
    ----------
    parts : PersistedParts
        Each an ndarray of shape (n_part, n_features); concatenated, they are the table.
    """

    def __init__(self, parts: PersistedParts) -> None:
        self._parts = parts
        self._first_rows = [0, *accumulate(parts.map(len))][:-1]

    def map(self, function: Callable[[Rows, int], T]) -> list[T]:
        """Call `function(rows, first_row)` for every chunk and return the results in the order of the table.

        `first_row` is the position of the chunk's first row in the table, from 0. `function` can be pickled and does not
        modify the rows.
        """
        return list(chain.from_iterable(self._parts.map(partial(_pass_over_rows, function), self._first_rows)))


def divide_into_chunks(parts: Sequence[Rows], pool: ThreadPoolExecutor) -> Chunks:
    """Divide parts in memory into chunks, over which functions are mapped by the threads of the pool."""
    return Chunks(InMemoryParts([rows[chunk] for rows in parts for chunk in iter_slices(len(rows), CHUNK_ROWS)], pool))


def _pass_over_rows(function: Callable[[Rows, int], T], rows: Rows, first_row: int) -> list[T]:
    return [function(rows[chunk], first_row + chunk.start) for chunk in iter_slices(len(rows), CHUNK_ROWS)]
