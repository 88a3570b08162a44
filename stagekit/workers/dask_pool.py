"""The workers of a Dask cluster as a worker pool.

The workers run the image of this stage and see the volume at the same path: they read and write the parts themselves. Dask
repeats the calls of workers that are lost.

TLS is configured in Dask: for a scheduler at tls://…, the certificates come from its configuration, for example from the
environment variables DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from stagekit.errors import OutOfMemoryError, SetupError, TransientError
from stagekit.volume.files import TEMPORARY_SUFFIX
from stagekit.workers.progress import label_of, progress
from stagekit.workers.worker_pool import PersistedParts

T = TypeVar("T")
Probe = tuple[dict[str, str], str, bool]
"""What a process reports: its versions, the content of a file on the volume, whether it may write to the volume.

A tuple of plain types, which any other version of the code can unpickle.
"""

_CONNECT_TIMEOUT_S = 30  # for a scheduler to answer and a first worker to be available
_ROOT = Path(__file__).parents[2]
_CODE = ("services", "stagekit")
"""Folders whose code runs on workers and so has to be the same there."""

log = logging.getLogger(__name__)


@contextmanager
def dask_pool(scheduler: str, folder: Path) -> Iterator[_DaskPool]:
    """Provide the workers of the scheduler at an address like tcp://scheduler:8786.

    Parameters
    ----------
    scheduler : str
    folder : Path
        Folder on the volume that every worker has to see and may write to.

    Raises
    ------
    TransientError
        The scheduler does not answer or has no workers.
    SetupError
        A worker does not see the folder, may not write to it, or runs another version of the image.
    OutOfMemoryError
        Several workers crashed in turn on the same part.
    """
    # Dask logs in many lines what the errors below report in one.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        with _connect(scheduler) as client:
            _check_workers(client, scheduler, folder.absolute())
            yield _DaskPool(client)
    except KilledWorker as error:
        raise OutOfMemoryError(
            f"{error.allowed_failures + 1} Dask workers crashed in turn on the same part, most likely out of memory: raise "
            f"their memory limit or make the parts smaller (rows_per_part). Otherwise see their logs (scheduler {scheduler})"
        ) from None
    except (NoWorkerError, NoValidWorkerError):
        raise TransientError(
            f"the Dask scheduler at {scheduler} has lost all its workers: start some, then run again"
        ) from None
    except (CancelledError, ClosedClientError, CommClosedError) as error:
        raise TransientError(f"the Dask scheduler at {scheduler} is gone: run again ({type(error).__name__})") from None


@contextmanager
def _connect(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False, name="stage")
    except TypeError:  # Dask's answer to missing certificates
        raise SetupError(
            f"{scheduler} requires certificates: name them in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
            "…__CLIENT__KEY"
        ) from None
    except OSError as error:
        raise TransientError(f"no Dask scheduler answers at {scheduler}: start it, then run again ({error})") from None
    try:
        yield client
    finally:
        client.close(timeout=1)


def _check_workers(client: Client, scheduler: str, folder: Path) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_TIMEOUT_S)
    except TimeoutError:
        raise TransientError(f"the Dask scheduler at {scheduler} has no workers: start some, then run again") from None
    token = secrets.token_hex(16)
    path = folder / f"probe-{token}{TEMPORARY_SUFFIX}"
    path.write_text(token)
    try:
        (own_versions, _, _), probes = probe_worker(path), client.run(probe_worker, path, on_error="return")
    finally:
        path.unlink()
    for worker, probe in probes.items():
        if isinstance(probe, OSError):
            raise TransientError(f"the Dask worker {worker} does not answer: run again ({probe})")
        if isinstance(probe, Exception):
            raise SetupError(f"the Dask worker {worker} runs another image: all need the same one ({probe!r})")
        versions, content, may_write = probe
        for name in sorted({*own_versions, *versions}):
            if own_versions.get(name) != versions.get(name):
                raise SetupError(
                    f"the Dask worker {worker} has {name} {versions.get(name)}, this stage {own_versions.get(name)}: "
                    "all need the same image"
                )
        if content != token:
            raise SetupError(f"the Dask worker {worker} does not see the volume: mount it so that {folder} exists there too")
        if not may_write:
            raise SetupError(f"the Dask worker {worker} may not write to {folder}: run it as the user that runs the stage")
    log.info("%d Dask workers at %s", len(probes), scheduler)


def probe_worker(path: Path) -> Probe:
    """Report the versions and the code of this process, and its access to the volume."""
    code = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((_ROOT / folder).rglob("*.py")):
            code.update(file.read_bytes())
    # The first of several distributions with the same name is the one that is imported.
    versions = {one.name: one.version for one in reversed(list(distributions()))}
    try:
        content = path.read_text()
    except OSError:
        content = ""
    own = path.with_name(f"{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        own.touch()
        own.unlink()
        may_write = True
    except OSError:
        may_write = False
    return versions | {"Python": platform.python_version(), "code": code.hexdigest()[:12]}, content, may_write


class _DaskPool:
    def __init__(self, client: Client) -> None:
        self._client = client

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        futures = self.submit(function, *iterables)
        # The cluster releases each result that was taken.
        results = (futures.pop(0).result() for _ in range(len(futures)))
        return iter(progress(results, label_of(function), len(futures)))

    def submit(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> list[Future]:
        # pure=False: otherwise Dask keys a call by its arguments and may return an earlier result although files have changed.
        futures: list[Future] = self._client.map(function, *map(list, iterables), pure=False)
        return futures

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        return _DaskParts(self, self.submit(load, items))


class _DaskParts:
    def __init__(self, pool: _DaskPool, parts: list[Future]) -> None:
        self._pool = pool
        self._parts = parts

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        return list(self._pool.map(function, self._parts, *iterables))

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        return _DaskParts(self._pool, self._pool.submit(function, self._parts, *iterables))
