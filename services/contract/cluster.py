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
from typing import Any, NamedTuple, TypeVar

from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError

from services.contract.errors import OutOfMemoryError, PassingError, SetupError
from services.contract.files import TEMPORARY_SUFFIX
from services.contract.manifest import installed_versions
from services.contract.workers import Held

T = TypeVar("T")

_ANSWER_S = 30  # for a scheduler to answer and a first worker to be there
_CODE = Path(__file__).parents[1]

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What a process says of itself and of the volume."""

    versions: dict[str, str]
    code: str
    token: str | None
    """What it read in a file on the volume; None where it does not see the file."""
    can_write: bool


@contextmanager
def cluster_workers(scheduler: str, folder: Path) -> Iterator[_Cluster]:
    """Provide the workers of the scheduler at an address like tcp://scheduler:8786.

    Raises PassingError where none answers, SetupError where one does not see `folder`, may not write there, or is of another
    version of the image.
    """
    # Dask says in many lines what is said here in one.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    folder = folder.absolute()
    with _errors_as_ours(scheduler):
        try:
            client = Client(scheduler, timeout=_ANSWER_S, set_as_default=False, name="customer-segmentation")
        except TypeError:  # what Dask makes of it
            raise SetupError(
                f"{scheduler} asks for certificates: name them in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
                "…__CLIENT__KEY"
            ) from None
        except (OSError, TimeoutError) as error:
            raise PassingError(f"no Dask scheduler answers at {scheduler}: start it, then run again ({error})") from None
        try:
            _check(client, scheduler, folder)
            yield _Cluster(client, scheduler)
        finally:
            client.close(timeout=1)


def _check(client: Client, scheduler: str, folder: Path) -> None:
    try:
        client.wait_for_workers(1, timeout=_ANSWER_S)
    except TimeoutError:
        raise PassingError(f"the Dask scheduler at {scheduler} has no workers: start some, then run again") from None
    token = secrets.token_hex(16)
    probe = folder / f"probe-{token}{TEMPORARY_SUFFIX}"
    probe.write_text(token)
    try:
        here, found = look(probe), client.run(look, probe, on_error="return")
    finally:
        probe.unlink()
    for worker, seen in found.items():
        if not isinstance(seen, Seen) or (seen.code, seen.versions) != (here.code, here.versions):
            raise SetupError(f"the Dask worker {worker} {_difference(here, seen)}: all need the same image")
        if seen.token != token:
            raise SetupError(f"the Dask worker {worker} does not see the volume: {folder} has to be there as it is here")
        if not seen.can_write:
            raise SetupError(f"the Dask worker {worker} may not write to {folder}: run it as the user that runs the stage")
    log.info("%d Dask workers at %s", len(found), scheduler)


def look(probe: Path) -> Seen:
    """Tell what this process is, and what it sees of the volume."""
    try:
        token = probe.read_text()
    except OSError:
        token = None
    mine = probe.with_name(f"{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        mine.touch()
        mine.unlink()
        can_write = True
    except OSError:
        can_write = False
    code = hashlib.sha256()
    for file in sorted(_CODE.rglob("*.py")):
        if file.parent.name in ("contract", "extract", "transform", "train", "segment"):
            code.update(file.read_bytes())
    return Seen(installed_versions(), code.hexdigest(), token, can_write)


def _difference(here: Seen, there: Any) -> str:
    if not isinstance(there, Seen):
        return f"cannot say what it is ({type(there).__name__}: {there})"
    for name in sorted({*here.versions, *there.versions}):
        if here.versions.get(name) != there.versions.get(name):
            return f"has {name} {there.versions.get(name)}, here is {here.versions.get(name)}"
    return f"has other code of ours, {there.code[:12]}…, here is {here.code[:12]}…"


@contextmanager
def _errors_as_ours(scheduler: str) -> Iterator[None]:
    try:
        yield
    except KilledWorker as error:
        raise OutOfMemoryError(
            f"workers at {scheduler} died again and again over one part ({error.args[0]}): give them more memory"
        ) from None
    except (CancelledError, CommClosedError, NoValidWorkerError) as error:
        raise PassingError(f"the Dask scheduler at {scheduler} is gone: run again ({type(error).__name__})") from None


class _Cluster:
    def __init__(self, client: Client, scheduler: str) -> None:
        self._client = client
        self._scheduler = scheduler

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        # pure: a call is named after what it is told, and files may have changed since another one was told the same.
        return self.results(self._client.map(function, *map(list, iterables), pure=False))

    def results(self, futures: list[Future]) -> Iterator[T]:
        """Give results in their order; what was given is forgotten on the cluster."""
        while futures:
            with _errors_as_ours(self._scheduler):
                result = futures[0].result()
            del futures[0]
            yield result

    def hold(self, load: Callable[[Any], Any], items: Iterable[Any]) -> Held:
        return _HeldThere(self, self._client, self._client.map(load, list(items), pure=False))


class _HeldThere:
    def __init__(self, cluster: _Cluster, client: Client, parts: list[Future]) -> None:
        self._cluster = cluster
        self._client = client
        self._parts = parts

    def each(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        calls = self._client.map(function, self._parts, *map(list, iterables), pure=False)
        return list(self._cluster.results(calls))
