"""Start a stage's container or attach to the one of an earlier try, follow it, and decide what becomes of it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from airflow.sdk import Context, ResumableJobMixin
from airflow.sdk.exceptions import AirflowTaskTimeout
from docker.api import APIClient
from docker.errors import APIError, DockerException
from requests import RequestException

from stagekit.airflow.container_log import forward_log
from stagekit.airflow.container_result import BIND_SOURCE_MISSING, ContainerResult
from stagekit.airflow.interruption import Interruption, StoppedError
from stagekit.airflow.task_containers import TaskContainers
from stagekit.airflow.task_state import TaskState
from stagekit.errors import StageError, TransientError

_LOG_POSITION_KEY = "log_until"
"""Key in the task state store of the time of the last line that has reached Airflow's log."""

log = logging.getLogger(__name__)


class ResumableContainerMixin(ResumableJobMixin):
    """The part of the operator that implements docs/decisions/0014-attaching-to-containers.md.

    `containers` and `task_state` are set before `run_container` is called.
    """

    external_id_key = "container"
    cli: APIClient
    container: dict[str, Any]
    """Created or attached to; DockerOperator sets it to None before that."""
    containers: TaskContainers | None = None
    task_state: TaskState
    interruption: Interruption
    _attachable: str | None = None
    _has_failed = False

    def run_container(self, context: Context) -> ContainerResult:
        """Return the result of the container that this try starts or attaches to.

        Raises
        ------
        StageError
            If the stage fails, or if the task is stopped or given up.
        """
        assert self.containers is not None
        try:
            self.containers.remove_those_of_ended_tasks()
            self._attachable = self.containers.find_attachable(durable=self.durable)
            ended: ContainerResult = self.execute_resumable({**context, "task_state_store": self.task_state})  # type: ignore[typeddict-item]
            if self.durable and not self.task_state.is_current(self.container["Id"]):
                raise TransientError("Airflow has given up this try: its container is left to a later one")
        except BaseException as error:
            if not self._leaves_container(error):
                self.remove_containers("" if self._has_failed else "its task ends without it")
            if isinstance(error, StoppedError):
                raise TransientError("the task was stopped") from None
            raise
        return ended

    def remove_containers(self, reason: str = "") -> None:
        """Remove the containers of this try; if the engine refuses, the next stage that starts removes them."""
        if self.containers:
            with contextlib.suppress(DockerException, RequestException):
                self.containers.remove_own(self.container["Id"] if self.container else None, reason)

    def folders_to_make(self) -> list[str]:
        """Return the folders of the volume that the run's stages write to."""
        raise NotImplementedError

    def submit_job(self, context: Context) -> str:  # noqa: ARG002 - the mixin's signature
        """Return the container of an earlier try that died before it could store the id, or start one."""
        assert self.containers is not None
        if self._attachable:
            return self._attachable
        self.interruption.check()
        try:
            self.container = self.containers.create()
        except APIError as error:
            folders = self.folders_to_make()
            if BIND_SOURCE_MISSING not in str(error) or not folders:
                raise
            log.info("making the folders of the run")
            self.containers.make_folders(folders)
            self.container = self.containers.create()
        self.cli.start(self.container["Id"])
        return str(self.container["Id"])

    def get_job_status(self, external_id: Any, context: Context) -> str:  # noqa: ARG002 - the mixin's signature
        """Return `attachable` for the container that `find_attachable` has found."""
        return "attachable" if external_id == self._attachable else "gone"

    def is_job_active(self, status: str) -> bool:
        """Accept a container that has exited, too: the rest of its log is read before its result."""
        return status == "attachable"

    def is_job_succeeded(self, status: str) -> bool:  # noqa: ARG002 - the mixin's signature
        """Return False: the result is always read by `poll_until_complete`."""
        return False

    def poll_until_complete(self, external_id: Any, context: Context) -> ContainerResult:  # type: ignore[override]
        """Forward the log until the container has exited; returns the result, as the mixin does after attaching."""
        assert self.containers is not None
        position: dict[str, str] = {}
        if external_id == self._attachable:
            self.container = {"Id": external_id}
            stored = self.task_state.get(_LOG_POSITION_KEY) or {}
            position = stored if stored.get("container") == external_id else {}
            self.containers.log_attachment(external_id, position)

        def save_position(time: str) -> None:
            self.task_state.set(_LOG_POSITION_KEY, {"container": external_id, "time": time})

        log.info("::group::Log of %s", self.containers.stage)
        try:
            forward_log(self.cli, external_id, position.get("time", ""), self.interruption, save_position)
        finally:
            log.info("::endgroup::")
        return self.get_job_result(external_id, context)

    def get_job_result(self, external_id: Any, context: Context) -> ContainerResult:  # noqa: ARG002 - the mixin's signature
        """Read the result of the container; raises StageError if it has failed."""
        assert self.containers is not None
        try:
            ended = self.containers.read_result(external_id)
        except StageError:
            self._has_failed = True
            raise
        return ended

    def _leaves_container(self, error: BaseException) -> bool:
        """Determine whether a later try can need the container of this one, which ends with `error`."""
        if not self.durable or self.container is None or isinstance(error, AirflowTaskTimeout):
            return False
        if self._has_failed:
            return not self.task_state.is_current(self.container["Id"])
        return self.task_state.is_needed_later(self.container["Id"])
