"""Worker pools: threads of this process, processes beside it for large data, or the workers of a Dask cluster.

A stage passes plain functions of a part and does not depend on the kind of worker. NumPy and scikit-learn release the
interpreter lock; what pandas does with text needs it. Dask is imported only if a scheduler is named (`dask_pool.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stagekit.errors import OutOfMemoryError
from stagekit.workers.progress import label_of, progress

T = TypeVar("T")

_MAX_WORKERS = 8  # each has one or two parts in memory
_PROCESS_POOL_MIN_BYTES = 100_000_000  # above, a process repays the time to import pandas


class PersistedParts(Protocol):
    """The parts of a table, in the memory of the workers; functions are mapped over them on these workers."""

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call `function` with every part and the items of `iterables`; return the results in the order of the parts.

        The function and its results can be pickled; it does not modify the part.
        """
        ...

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        """Call `function` as `map` does, and keep the results where the parts are."""
        ...


class WorkerPool(Protocol):
    """Calls functions in parallel.

    Functions, items and results must be picklable. A call whose result is lost is repeated, so it must be idempotent.
    """

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Call `function` with the items of `iterables`; yield the results in their order. The calls start immediately."""
        ...

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        """Load every item with `load` and keep the results on the workers."""
        ...


@contextmanager
def worker_pool(scheduler: str = "", folder: Path = Path(), n_bytes: int = 0) -> Iterator[WorkerPool]:
    """Provide a worker pool.

    Parameters
    ----------
    scheduler : str
        Address of a Dask scheduler, whose workers are used; empty for threads and processes of this machine.
    folder : Path
        Folder on the volume that all workers have to see.
    n_bytes : int
        Size of the data; large data is processed by processes instead of threads.

    Raises
    ------
    OutOfMemoryError
        A process was killed.
    """
    if scheduler:
        from stagekit.workers.dask_pool import dask_pool

        with dask_pool(scheduler, folder) as pool:
            yield pool
        return
    n_workers = min(count_cores(), _MAX_WORKERS)
    with ExitStack() as pools:
        threads = pools.enter_context(_shutdown_on_exit(ThreadPoolExecutor(n_workers)))
        if n_bytes < _PROCESS_POOL_MIN_BYTES or n_workers == 1:
            yield _LocalPool(threads, threads)
            return
        # A forked process would not have the thread that waits for SIGTERM.
        spawning = multiprocessing.get_context("spawn")
        processes = pools.enter_context(
            _shutdown_on_exit(ProcessPoolExecutor(n_workers, spawning, initializer=_exit_with_parent))
        )
        try:
            yield _LocalPool(processes, threads)
        except BrokenProcessPool:
            raise OutOfMemoryError("a process of the stage was killed: raise the memory limit of this stage") from None


def count_cores() -> int:
    """Return the number of threads that can compute at the same time."""
    # CPU affinity does not reflect a container's CPU quota; the operator passes the usable core count in this variable.
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def iter_slices(n_rows: int, chunk_rows: int) -> Iterator[slice]:
    """Yield slices of at most `chunk_rows` rows that together cover `n_rows` rows."""
    for first in range(0, n_rows, chunk_rows):
        yield slice(first, min(first + chunk_rows, n_rows))


@contextmanager
def _shutdown_on_exit(pool: Executor) -> Iterator[Executor]:
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # calls that have not started are not needed if the stage fails


def _exit_with_parent() -> None:
    """Exit this process as soon as its parent process ends."""
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
        parts = list(progress(self._threads.map(load, arguments), label_of(load), len(arguments)))
        return InMemoryParts(parts, self._threads)


class InMemoryParts:
    """Parts in the memory of this process; without a pool, the calls run one after the other."""

    def __init__(self, parts: Sequence[Any], pool: Executor | None = None) -> None:
        self._parts = parts
        self._pool = pool

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call `function` with every part and the items of `iterables`; return the results in order."""
        results = (self._pool.map if self._pool else map)(function, self._parts, *iterables)
        return list(progress(results, label_of(function), len(self._parts)))

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        """Call `function` as `map` does, and keep the results."""
        return InMemoryParts(self.map(function, *iterables), self._pool)
