"""Use every core with one Python thread each, and one OpenMP thread within each of them.

OpenMP threads wait for each other after every iteration, so one busy core delays all of them; independent Python threads lose
only the time of that core. scikit-learn releases the GIL while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import Protocol, TypeVar

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stagekit.workers.progress import label_of, progress
from stagekit.workers.worker_pool import iter_slices

T = TypeVar("T")
Rows = NDArray[np.float64]
"""Standardised features of some customers, shape (n_rows, n_features)."""

CHUNK_ROWS = 131_072  # a few MB: fits into the cache of a core, and is large enough to amortise a call of scikit-learn


class MapChunks(Protocol):
    """Access to all rows of a table, in chunks, kept in the memory of this process or on Dask workers."""

    def __call__(self, function: Callable[[Rows, int], T], /) -> list[T]:
        """Call `function(rows, first_row)` for every chunk and return the results in the order of the table.

        `first_row` is the position of the chunk's first row in the table, from 0. `function` can be pickled and does not
        modify the rows.
        """
        ...


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


def iter_chunks(rows: Rows, first_row: int) -> Iterator[tuple[Rows, int]]:
    """Divide a part into chunks of CHUNK_ROWS rows, the last one shorter.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    first_row : int
        Position of the part's first row in the table.

    Yields
    ------
    tuple of ndarray and int
        A view of the rows of the chunk, and the position of its first row in the table.
    """
    for chunk in iter_slices(len(rows), CHUNK_ROWS):
        yield rows[chunk], first_row + chunk.start


def map_chunks_in_threads(parts: Sequence[Rows], pool: ThreadPoolExecutor) -> MapChunks:
    """Return a function that maps other functions over the chunks of parts in memory.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_part, n_features)
        Concatenated, they are the table.
    pool : ThreadPoolExecutor

    Returns
    -------
    MapChunks
    """
    first_rows = [0, *accumulate(map(len, parts))]
    chunks = [chunk for rows, first_row in zip(parts, first_rows, strict=False) for chunk in iter_chunks(rows, first_row)]

    def map_chunks(function: Callable[[Rows, int], T], /) -> list[T]:
        return list(progress(pool.map(function, *zip(*chunks, strict=True)), label_of(function), len(chunks), unit="chunk"))

    return map_chunks
