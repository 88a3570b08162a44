"""Who does the work on parts: the threads of this process.

A stage says what is to be done with each part as a plain function, and does not know who does it. pandas, NumPy and
scikit-learn compute without Python's lock, so threads use every core and hand each other arrays without copying them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_MOST_THREADS = 8  # each has a part or two in memory


class Held(Protocol):
    """Parts that were loaded once and stay where they are, for those who go over them several times."""

    def each(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call `function` with every part, and with the items of `iterables`; returns the results in the order of the parts."""
        ...


class Workers(Protocol):
    """Calls functions, several at a time, wherever that is.

    Functions, items and results can be pickled; a call whose result got lost is made once more, and does the same again.
    """

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Call `function` with the items of `iterables`; gives the results in their order. The calls begin at once."""
        ...

    def hold(self, load: Callable[[Any], Any], items: Iterable[Any]) -> Held:
        """Load items, each with `load`, and keep what comes of them."""
        ...


@contextmanager
def workers() -> Iterator[Workers]:
    """Provide those who work for a stage."""
    # A container's limit on CPU time is not seen by who counts cores; whoever sets one says so in this variable.
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(min(cores, _MOST_THREADS)) as pool:
        try:
            yield _Threads(pool)
        finally:
            pool.shutdown(cancel_futures=True)  # what is not begun when the stage fails need not begin


class _Threads:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        return self._pool.map(function, *iterables)

    def hold(self, load: Callable[[Any], Any], items: Iterable[Any]) -> Held:
        return _HeldHere(self._pool, list(self._pool.map(load, items)))


class _HeldHere:
    def __init__(self, pool: ThreadPoolExecutor, parts: list[Any]) -> None:
        self._pool = pool
        self._parts = parts

    def each(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        return list(self._pool.map(function, self._parts, *iterables))
