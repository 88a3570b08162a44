"""The workers of a Dask cluster, as those who work on parts.

They run the image that this stage runs in, and see the volume at the same path: parts are read and written by them, and do not
pass through this process. Dask makes up for workers that are lost: it has others do again what they had done.

TLS is Dask's own: with a scheduler at tls://… certificates come from its configuration, for example from the environment
variables DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from stagekit.errors import OutOfMemoryError, SetupError, TransientError
from stagekit.volume.files import TEMPORARY_SUFFIX
from stagekit.volume.manifest import installed_versions
from stagekit.workers.progress import label_of, progress
from stagekit.workers.worker_pool import PersistedParts

T = TypeVar("T")
WorkerProbe = tuple[dict[str, str], str, bool]
"""What a process says: the versions that it runs, what it reads in a file on the volume, whether it may write there.

Nothing of ours, which another version might not understand.
"""

_CONNECT_TIMEOUT_S = 30  # for a scheduler to answer and a first worker to be there
_CODE = Path(__file__).parents[2]
_RUN_ON_WORKERS = (
    "stagekit",
    "stagekit/stage",
    "stagekit/tables",
    "stagekit/volume",
    "stagekit/workers",
    "services/contract",
    "services/extract",
    "services/transform",
    "services/train",
    "services/evaluate",
    "services/segment",
)

log = logging.getLogger(__name__)


@contextmanager
def dask_pool(scheduler: str, folder: Path) -> Iterator[_DaskPool]:
    """Provide the workers of the scheduler at an address like tcp://scheduler:8786.

    Raises TransientError if none answers or the connection breaks; SetupError if a worker does not see `folder`, may not
    write there, or runs another version of the image; OutOfMemoryError where one after the other dies over the same part.
    """
    # Dask says in many lines what is said here in one.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        with _connect(scheduler) as client:
            _check(client, scheduler, folder.absolute())
            yield _DaskPool(client)
    except KilledWorker as error:
        raise OutOfMemoryError(
            f"{error.allowed_failures + 1} Dask workers at {scheduler} died over the same part, one after the other: give them "
            "more memory, or make smaller parts (rows_per_part); if it was not that, their logs say more"
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
        client = Client(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False, name="customer-segmentation")
    except TypeError:  # what Dask makes of it
        raise SetupError(
            f"{scheduler} asks for certificates: name them in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
            "…__CLIENT__KEY"
        ) from None
    except OSError as error:
        raise TransientError(f"no Dask scheduler answers at {scheduler}: start it, then run again ({error})") from None
    try:
        yield client
    finally:
        client.close(timeout=1)


def _check(client: Client, scheduler: str, folder: Path) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_TIMEOUT_S)
    except TimeoutError:
        raise TransientError(f"the Dask scheduler at {scheduler} has no workers: start some, then run again") from None
    token = secrets.token_hex(16)
    probe = folder / f"probe-{token}{TEMPORARY_SUFFIX}"
    probe.write_text(token)
    try:
        (here, _, _), found = probe_worker(probe), client.run(probe_worker, probe, on_error="return")
    finally:
        probe.unlink()
    for worker, seen in found.items():
        if isinstance(seen, OSError):
            raise TransientError(f"the Dask worker {worker} does not answer: run again ({seen})")
        if isinstance(seen, Exception):
            raise SetupError(f"the Dask worker {worker} runs another image: all need the same one ({seen!r})")
        there, read, may_write = seen
        for name in sorted({*here, *there}):
            if here.get(name) != there.get(name):
                raise SetupError(
                    f"the Dask worker {worker} has {name} {there.get(name)}, here is {here.get(name)}: all need the same image"
                )
        if read != token:
            raise SetupError(f"the Dask worker {worker} does not see the volume: {folder} has to be there as it is here")
        if not may_write:
            raise SetupError(f"the Dask worker {worker} may not write to {folder}: run it as the user that runs the stage")
    log.info("%d Dask workers at %s", len(found), scheduler)


def probe_worker(probe: Path) -> WorkerProbe:
    """Tell what this process is, and what it sees of the volume."""
    code = hashlib.sha256()
    for folder in _RUN_ON_WORKERS:
        for file in sorted((_CODE / folder).glob("*.py")):
            code.update(file.read_bytes())
    try:
        read = probe.read_text()
    except OSError:
        read = ""
    mine = probe.with_name(f"{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        mine.touch()
        mine.unlink()
        may_write = True
    except OSError:
        may_write = False
    return installed_versions() | {"code": code.hexdigest()[:12]}, read, may_write


class _DaskPool:
    def __init__(self, client: Client) -> None:
        self._client = client

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        futures = self.submit(function, *iterables)
        return iter(progress(self.gather(futures), label_of(function), len(futures)))

    def submit(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> list[Future]:
        # pure: a call is named after what it is told, and files may have changed since another one was told the same.
        futures: list[Future] = self._client.map(function, *map(list, iterables), pure=False)
        return futures

    def gather(self, futures: list[Future]) -> Iterator[Any]:
        """Give results in their order; what was given is forgotten on the cluster."""
        while futures:
            yield futures.pop(0).result()

    def persist(self, load: Callable[[Any], Any], items: Iterable[Any]) -> PersistedParts:
        return _DaskParts(self, self.submit(load, items))


class _DaskParts:
    def __init__(self, cluster: _DaskPool, parts: list[Future]) -> None:
        self._cluster = cluster
        self._parts = parts

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        return list(self._cluster.map(function, self._parts, *iterables))

    def derive(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> PersistedParts:
        return _DaskParts(self._cluster, self._cluster.submit(function, self._parts, *iterables))
