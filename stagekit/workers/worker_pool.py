"""Who does the work on parts: threads of this process, processes beside it where there is much to do, or a Dask cluster.

A stage says what is to be done with each part as a plain function, and does not know who does it. NumPy and scikit-learn
compute without Python's lock; what pandas does with text needs it, so that two threads read a CSV hardly faster than one.
Dask is imported only where a scheduler is named (`cluster.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stagekit.errors import OutOfMemoryError
from stagekit.workers.progress import label_of, progress

T = TypeVar("T")

_MAX_WORKERS = 8  # each has a part or two in memory
_PROCESS_POOL_MIN_BYTES = 100_000_000  # bytes: above, a process that first has to import pandas is soon made up for


class PersistedParts(Protocol):
    """Parts that were loaded once and stay where they are, for those who go over them several times."""

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call `function` with every part, and with the items of `iterables`; returns the results in the order of the parts."""
        ...

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        """Call `function` as `map` does, and keep the results where the parts are."""
        ...


class WorkerPool(Protocol):
    """Calls functions, several at a time, wherever that is.

    Functions, items and results can be pickled; a call whose result got lost is made once more, and does the same again.
    """

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Call `function` with the items of `iterables`; gives the results in their order. The calls begin at once."""
        ...

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        """Load items, each with `load`, and keep what comes of them."""
        ...


@contextmanager
def worker_pool(scheduler: str = "", folder: Path = Path(), n_bytes: int = 0) -> Iterator[WorkerPool]:
    """Provide those who work for a stage that has so many bytes to go through.

    They are those of the Dask scheduler at that address, where one is named; they all have to see `folder`, on the volume.
    """
    if scheduler:
        from stagekit.workers.dask_pool import dask_pool

        with dask_pool(scheduler, folder) as cluster:
            yield cluster
        return
    count = min(count_cores(), _MAX_WORKERS)
    with ExitStack() as pools:
        threads = pools.enter_context(_shutdown_on_exit(ThreadPoolExecutor(count)))
        if n_bytes < _PROCESS_POOL_MIN_BYTES or count == 1:
            yield _LocalPool(threads, threads)
            return
        # A fork would not take along the thread that waits for SIGTERM.
        spawning = multiprocessing.get_context("spawn")
        processes = pools.enter_context(_shutdown_on_exit(ProcessPoolExecutor(count, spawning, initializer=_exit_with_parent)))
        try:
            yield _LocalPool(processes, threads)
        except BrokenProcessPool:
            raise OutOfMemoryError("a process of the stage was killed: raise the memory limit of this stage") from None


def count_cores() -> int:
    """Return how many threads may compute at a time."""
    # A container's limit on CPU time is not visible in the number of cores; Airflow passes it in this variable.
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


@contextmanager
def _shutdown_on_exit(pool: Executor) -> Iterator[Executor]:
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # what is not begun when the stage fails need not begin


def _exit_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


class _LocalPool:
    def __init__(self, pool: Executor, threads: Executor) -> None:
        self._pool = pool
        self._threads = threads

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        arguments = [list(items) for items in iterables]
        return iter(progress(self._pool.map(function, *arguments), label_of(function), len(arguments[0])))

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        arguments = list(items)
        return _LocalParts(self._threads, list(progress(self._threads.map(load, arguments), label_of(load), len(arguments))))


class _LocalParts:
    def __init__(self, pool: Executor, parts: list[Any]) -> None:
        self._pool = pool
        self._parts = parts

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        results = self._pool.map(function, self._parts, *iterables)
        return list(progress(results, label_of(function), len(self._parts)))

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        return _LocalParts(self._pool, self.map(function, *iterables))
