"""The result of a container that has exited, or the error with the reason and whether a retry can help."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.api import APIClient
from docker.errors import APIError, DockerException
from requests import RequestException
from urllib3.exceptions import HTTPError

from stagekit.errors import ExitCode, OutOfMemoryError, SetupError, StageError, TransientError
from stagekit.settings import ENVIRONMENT_PREFIX
from stagekit.stage.run import MANIFEST_LINE

BIND_SOURCE_MISSING = "bind source path does not exist"
"""Part of the engine's message if a folder of the host that it should mount does not exist."""

LOST = 255
"""Exit code that the engine gives to containers which it finds dead when it starts again, after a power cut for example."""


class ContainerResult(NamedTuple):
    """What a stage has returned."""

    result: Any
    """The JSON that it wrote to stdout."""
    manifest: str | None
    """The SHA-256 of its manifest; None if it wrote none."""


def read_container_result(client: APIClient, container: str, stage: str, memory: str) -> ContainerResult:
    """Read the result of a container that has exited.

    Parameters
    ----------
    client : APIClient
    container : str
        Id of the container.
    stage : str
        Name of the stage, which begins each line of its log.
    memory : str
        The container's memory limit, for the message if it was exceeded.

    Raises
    ------
    StageError
        Unless the stage succeeded; the class states whether a retry can help.
    """
    state = client.inspect_container(container)["State"]
    stderr = client.logs(container, stdout=False, stderr=True, tail=50).decode(errors="replace")
    lines = re.sub(rf"^\d\d:\d\d:\d\d {stage}: ((WARNING|ERROR): )?", "", stderr, flags=re.MULTILINE).strip().splitlines()
    if state["ExitCode"] != ExitCode.SUCCESS:
        raise _explain_exit(stage, state["ExitCode"], state["OOMKilled"], memory, lines[-1] if lines else "")

    stdout = client.logs(container, stdout=True, stderr=False).decode(errors="replace")
    try:
        result = json.loads(stdout)
    except json.JSONDecodeError:
        raise StageError(f"{stage} wrote {stdout[:200]!r} to stdout: expected one line of JSON") from None
    manifests = [line.removeprefix(MANIFEST_LINE) for line in lines if line.startswith(MANIFEST_LINE)]
    return ContainerResult(result, manifests[-1] if manifests else None)


def _explain_exit(stage: str, code: int, out_of_memory: bool, memory: str, last_line: str) -> StageError:
    """Return the error for an exit code other than 0."""
    explained = re.fullmatch(r"failed \((\d+), [^)]*\): (.*)", last_line)
    reason = explained[2] if explained and int(explained[1]) == code else None
    # The kernel may have killed a child process and not the stage itself; then the exit code can be any.
    if out_of_memory or (reason and code == ExitCode.OUT_OF_MEMORY):
        return OutOfMemoryError(
            f"{stage} does not fit into {memory} of memory: raise {ENVIRONMENT_PREFIX}STAGE_MEMORY "
            "of the Airflow scheduler, then clear this task"
        )
    if reason:
        kinds: list[type[StageError]] = [StageError, *StageError.__subclasses__()]
        return next(kind for kind in kinds if kind.exit_code == code)(reason)
    if code == LOST:
        return TransientError(f"{stage} was lost: the Docker engine or its host stopped while the container ran")
    if 128 < code < 128 + signal.NSIG:
        return TransientError(f"{stage} was killed by signal {code - 128} ({signal.strsignal(code - 128)})")
    return StageError(f"{stage} ended with exit code {code}: {last_line}")


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Turn every expected error into one of Airflow's two: AirflowException if a retry can help, else AirflowFailException."""
    try:
        with _translate_docker_errors():
            yield
    except StageError as error:
        code = error.exit_code
        kind = AirflowException if code.retry_can_help else AirflowFailException
        raise kind(f"failed ({code:d}, {code.meaning}): {error}") from None


@contextlib.contextmanager
def _translate_docker_errors() -> Iterator[None]:
    try:
        yield
    except APIError as error:
        message = " ".join(str(error.explanation or error).split())
        if BIND_SOURCE_MISSING in message:
            expected = f"{ENVIRONMENT_PREFIX}HOST_VOLUME must be the path of shared_volume on the Docker host"
            raise SetupError(f"{message}: {expected}") from None
        raise TransientError(f"the Docker engine answered: {message}") from error
    except (DockerException, RequestException, HTTPError) as error:
        raise TransientError(f"the Docker engine does not answer: {error}") from error
