"""A pool of workers that process parts: threads of this process, further processes for large inputs, or a Dask cluster.

A stage passes a plain function for each part, and does not depend on the kind of worker. NumPy and scikit-learn release the
GIL while they compute; pandas holds it for text, so two threads read a CSV hardly faster than one. Dask is imported only if
a scheduler is named (`dask_pool.py`).
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

_MAX_WORKERS = 8  # each holds one or two parts in memory
_PROCESS_POOL_MIN_BYTES = 100_000_000  # above, processes save more time than their import of pandas takes


class PersistedParts(Protocol):
    """Parts that are loaded once and kept on their workers, for several passes over them."""

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call `function` with every part and with the items of `iterables`; return the results in the order of the parts."""
        ...

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        """Call `function` as `map` does, and keep the results where the parts are."""
        ...


class WorkerPool(Protocol):
    """Calls functions concurrently.

    Functions, items and results can be pickled. A call whose result is lost is repeated, so functions are idempotent.
    """

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Call `function` with the items of `iterables`; yield the results in their order. The calls start immediately."""
        ...

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        """Load every item with `load` on a worker, and keep the results there."""
        ...


@contextmanager
def worker_pool(scheduler: str = "", folder: Path = Path(), n_bytes: int = 0) -> Iterator[WorkerPool]:
    """Provide a pool of workers.

    Parameters
    ----------
    scheduler : str
        Address of a Dask scheduler; empty for local threads or processes.
    folder : Path
        Folder on the volume that all workers of a Dask cluster must see.
    n_bytes : int
        Size of the input; from 100 MB on, the local workers are processes.

    Yields
    ------
    WorkerPool

    Raises
    ------
    OutOfMemoryError
        If a local process was killed.
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
        # A fork would not copy the thread that waits for SIGTERM.
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
        pool.shutdown(cancel_futures=True)  # if the stage fails, pending calls are cancelled


def _exit_with_parent() -> None:
    """Exit as soon as the parent process has ended, in any way."""
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
