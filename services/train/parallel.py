"""Use every core with as many Python threads, each computing with one thread of OpenMP.

Threads of OpenMP wait for each other after every iteration, so that one busy neighbour stops them all; threads that share
nothing only get less of a core. scikit-learn computes without Python's lock.
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

T = TypeVar("T")
Rows = NDArray[np.float64]

PIECE_ROWS = 131_072  # a few MB: small enough for a core's cache, large enough for a call of scikit-learn to be worth it


class Apply(Protocol):
    """Calls `function(rows, first_row)` for every part of a table, and returns the results in the order of the parts.

    Whoever sees a table only through this need not know where its parts are: in the memory of this process, as below, or on
    other machines. `function` can be pickled and leaves the rows as they are; `first_row` is the number, in the whole
    table, of the first of them.
    """

    def __call__(self, function: Callable[[Rows, int], T], /) -> list[T]: ...


@contextmanager
def single_threaded_pool(most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Provide a thread for every core that this process may use, counting a container's limit; not more than `most`."""
    workers = min(cpu_count(), most or cpu_count())
    # The limit of OpenMP holds for the thread that sets it, that of BLAS for the process.
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(workers, initializer=threadpool_limits, initargs=(max(1, cpu_count() // workers), "openmp")) as pool,
    ):
        yield pool


def pieces(rows: Rows, first_row: int) -> Iterator[tuple[Rows, int]]:
    """Cut a part, whose first row has the number `first_row`, into pieces of which each has the number of its first row."""
    for first in range(0, len(rows), PIECE_ROWS):
        yield rows[first : first + PIECE_ROWS], first_row + first


def map_chunks_in_threads(parts: Sequence[Rows], pool: ThreadPoolExecutor) -> Apply:
    """Make the function that applies others to `parts`, arrays of shape (n_part, n_features), piece by piece."""
    firsts = [0, *accumulate(map(len, parts))]
    cut = [piece for rows, first_row in zip(parts, firsts, strict=False) for piece in pieces(rows, first_row)]

    def apply(function: Callable[[Rows, int], T], /) -> list[T]:
        return list(pool.map(function, *zip(*cut, strict=True)))

    return apply
