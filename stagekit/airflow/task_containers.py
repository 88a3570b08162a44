"""The containers of one task on the Docker engine: found by their labels, created, attached to and removed.

docs/decisions/0014-attaching-to-containers.md explains which container is attached to, who removes it, and when.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from docker.api import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount
from requests import RequestException

from stagekit.airflow.container_log import REMOVED_STATUS_CODES, explain_removal
from stagekit.airflow.container_result import ContainerResult, read_container_result
from stagekit.airflow.containers import VOLUME, StageContainer
from stagekit.airflow.host_settings import HostSettings
from stagekit.airflow.task_state import TaskState
from stagekit.errors import SetupError, StageError, TransientError

_LOG_OPTIONS = {"max-size": "10m", "max-file": "2"}  # the engine keeps everything otherwise

log = logging.getLogger(__name__)


def label_task(prefix: str, task_instance: Any, host: HostSettings) -> dict[str, str]:
    """Return the labels of every container of a task in a run.

    Parameters
    ----------
    prefix : str
        What the names of all labels begin with.
    task_instance : RuntimeTaskInstance
    host : HostSettings
    """
    labels = {
        f"{prefix}.volume": host.host_volume,  # another Airflow on this engine may have a run with the same name
        f"{prefix}.dag": task_instance.dag_id,
        f"{prefix}.run": task_instance.run_id,
        f"{prefix}.task": task_instance.task_id,
    }
    if host.project:
        labels[f"{prefix}.project"] = host.project  # another Airflow may even share the volume
    if task_instance.map_index is not None and task_instance.map_index >= 0:
        labels[f"{prefix}.map-index"] = str(task_instance.map_index)
    return labels


@dataclass
class TaskContainers:
    """The containers of one task in one run, of which at most one runs."""

    client: APIClient
    prefix: str
    """What the names of all labels, and of the container, begin with."""
    task_labels: dict[str, str]
    """Of every container of the task in the run."""
    stage: str
    definition: StageContainer
    task_state: TaskState

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the container that this try creates."""
        return self.task_labels | {f"{self.prefix}.try": str(self.task_state.try_number)} | self._expected_labels

    @property
    def _expected_labels(self) -> dict[str, str]:
        """The labels, besides those of the task, of a container that this try can attach to."""
        return {
            f"{self.prefix}.definition": self.definition.digest,
            f"{self.prefix}.cleared": str(self.task_state.times_cleared),
        }

    @property
    def name(self) -> str:
        """The name of the task's container: the engine refuses a second one with the same name."""
        digest = hashlib.sha256(repr(sorted(self.task_labels.items())).encode()).hexdigest()
        return f"{self.prefix}-{self.stage}-{digest[:16]}"

    @property
    def memory_limit(self) -> str:
        """The memory limit of a container of the stage."""
        return self.definition.host.stage_memory

    def create(self) -> dict[str, Any]:
        """Create the container, without starting it."""
        created: dict[str, Any] = self.client.create_container(
            self.definition.image,
            name=self.name,
            entrypoint=list(self.definition.entrypoint) or None,
            command=self.definition.command,
            environment=self.definition.environment,
            user=self.definition.host.stage_user,
            labels=self.labels,
            host_config=self._host_config(self.definition.mounts, self.definition.network),
        )
        return created

    def make_folders(self, folders: Iterable[str]) -> None:
        """Make folders of the volume, as the stages' user: Docker mounts only existing ones.

        Raises
        ------
        TransientError
            If the volume is full.
        SetupError
            If the stages' user cannot write to the volume.
        """
        host = self.definition.host
        container = self.client.create_container(
            self.definition.image,
            entrypoint=["sh", "-c", 'umask 007 && exec mkdir -p "$@"', "mkdir"],
            command=[f"{VOLUME}/{path}" for path in folders],
            user=host.stage_user,
            labels=self.task_labels | {f"{self.prefix}.try": str(self.task_state.try_number)},
            host_config=self._host_config([Mount(VOLUME, host.host_volume, type="bind")], "none"),
        )["Id"]
        self.client.start(container)
        exit_code = self.client.wait(container)["StatusCode"]
        output = self.client.logs(container).decode(errors="replace").strip()
        self.client.remove_container(container)
        if exit_code != 0:
            if "No space left" in output:
                raise TransientError(f"the volume is full ({output}): free some space")
            raise SetupError(f"{output}: user {host.stage_user} needs write access to {host.host_volume} on the Docker host")

    def _host_config(self, mounts: list[Mount], network: str) -> Any:
        return self.client.create_host_config(
            mounts=mounts,
            network_mode=network,
            mem_limit=self.memory_limit,
            log_config=LogConfig(config=_LOG_OPTIONS),
            **self.definition.hardening,
        )

    def find_attachable(self, *, durable: bool) -> str | None:
        """Find the container that this try would otherwise start, and remove any other of this task.

        Raises
        ------
        TransientError
            If a later try has a container: Airflow has given this one up for lost.
        """
        attachable = None
        for container in self._list(self.task_labels):
            if int(container["Labels"][f"{self.prefix}.try"]) > self.task_state.try_number:
                raise TransientError("a later try of this task has begun")
            reason = self._reason_to_remove(container) if durable else "left by an earlier try"
            if reason:
                self._remove(container, reason)
            else:
                attachable = container["Id"]
        return attachable

    def _reason_to_remove(self, container: dict[str, Any]) -> str:
        """Return why this try cannot attach to a container of the task; empty if it can."""
        # The engine reports a container that is being removed as exited; only the status for people shows the difference.
        if container["State"] not in ("running", "exited") or container["Status"].startswith("Removal"):
            return "left by an earlier try"
        differing = {name for name, value in self._expected_labels.items() if container["Labels"].get(name) != value}
        if f"{self.prefix}.definition" in differing:
            return "left by an earlier try, and not what this one would start"
        if differing:
            return "left by an earlier try, and the run was cleared since"
        if container["State"] == "exited":
            try:
                self.read_result(container["Id"])
            except StageError as error:
                if error.exit_code.retry_can_help:
                    return f"it has exited since: {error}"
        return ""

    def read_result(self, container: str) -> ContainerResult:
        """Read the result of a container that has exited; raises StageError if the stage has failed."""
        try:
            return read_container_result(self.client, container, self.stage, self.memory_limit)
        except APIError as error:
            if error.status_code in REMOVED_STATUS_CODES:
                raise TransientError(explain_removal(container)) from None
            raise

    def log_attachment(self, container: str, log_position: Mapping[str, str]) -> None:
        """Log to which container this try has attached, and from where its log continues."""
        details = self.client.inspect_container(container)
        state, labels = details["State"], details["Config"]["Labels"]
        log.info(
            "attached to container %s of try %s, running since %s%s; its log continues %s",
            container[:12],
            labels[f"{self.prefix}.try"],
            state["StartedAt"],
            "" if state["Running"] else f", exited at {state['FinishedAt']}",
            f"after {log_position['time']}" if log_position else "from its beginning",
        )

    def remove_own(self, attached: str | None, reason: str = "") -> None:
        """Remove the container that this try has attached to, and any that it has created; logs a reason if there is one."""
        for container in self._list(self.task_labels):
            if container["Id"] == attached or container["Labels"].get(f"{self.prefix}.try") == str(self.task_state.try_number):
                self._remove(container, reason)

    def remove_those_of_ended_tasks(self) -> None:
        """Remove the containers on this volume of other tasks that have ended.

        Such containers are left by a process that was killed after Airflow had recorded its success, or with its last try.
        """
        volume = f"{self.prefix}.volume"
        for container in self._list({volume: self.task_labels[volume]}):
            labels = container["Labels"]
            if any(labels.get(name) != value for name, value in self.task_labels.items()):
                task = [labels.get(f"{self.prefix}.{part}", "") for part in ("dag", "run", "task", "map-index")]
                if self.task_state.has_ended(*task):
                    with contextlib.suppress(DockerException, RequestException):  # it does no harm
                        self._remove(container, "its task has ended")

    def _list(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        containers: list[dict[str, Any]] = self.client.containers(
            all=True, filters={"label": [f"{name}={value}" for name, value in labels.items()]}
        )
        return containers

    def _remove(self, container: dict[str, Any], reason: str) -> None:
        if reason:
            log.warning("removing container %s (%s): %s", container["Id"][:12], container["Status"], reason)
        try:
            self.client.remove_container(container["Id"], force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # another process is removing it
                raise
            with contextlib.suppress(NotFound):
                self.client.wait(container["Id"], condition="removed")
