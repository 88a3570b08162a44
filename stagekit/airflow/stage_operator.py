"""Runs one stage as a container that outlives the process that started it, and hands its results to Airflow.

DockerOperator provides the connection to the engine, ResumableJobMixin whether to start or to attach. What is added:

- the container is shut in (`containers.py`);
- the container's name is that of its task, so that there are never two of one task in one run;
- a try attaches to the container of an earlier try if it would start the same one, and removes any other first;
- the result, the digest of the manifest and the reason of a failure come from the stage itself (`outcomes.py`);
- the log of a failure ends with the reason and the command that replays the stage by hand.

docs/decisions/0014-attaching-to-containers.md explains who removes a container, and when.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shlex
import time
from pathlib import PurePosixPath
from typing import Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context, ResumableJobMixin
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from docker.api import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound, TLSParameterError
from docker.types import LogConfig, Mount
from requests import RequestException

from dags.assets import is_for_past_date
from services.pipeline import PIPELINE
from stagekit.airflow import lineage
from stagekit.airflow.container_log import follow, level_of
from stagekit.airflow.container_result import BIND_SOURCE_MISSING, Outcome, read_container_result, translate_errors
from stagekit.airflow.containers import VOLUME, StageContainer, host_settings
from stagekit.airflow.task_state import TaskState
from stagekit.airflow.trigger_form import given
from stagekit.errors import ExitCode, SetupError, StageError, TransientError, UsageError
from stagekit.serialization import to_text
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder

LABEL = "customer-segmentation"
MANIFEST_KEY = "manifest"
"""Under this key, a task's XCom holds the sha256 of its stage's manifest."""
VOLUME_KEY = "volume"
"""Under this key, a task's XCom holds the volume on the Docker host that its stage has written to."""
REASON_KEY = "reason"
"""Under this key, a failed task's XCom holds why, for those who are told when the run has failed."""
_LONGEST_REASON = 1000
_LOG_OPTIONS = {"max-size": "10m", "max-file": "2"}
_LOG_KEY = "log_until"
"""Under this key, the task state store holds the time of the last line that has reached Airflow's log."""
_LOG_MARK_INTERVAL_S = 10.0

log = logging.getLogger(__name__)


class StoppedError(BaseException):
    """Airflow has told the task to stop: raised by the signal handler, and by nothing that expects ordinary errors caught."""


class StageOperator(ResumableJobMixin, DockerOperator):
    """Run `stage` for the DAG run, or for `of_run` if given; `publishes` lets it write to the volume's `history/`
    and, unless the run is experimental, `model/`.

    A DAG with a form of its own passes `settings`, which are templated. `writes` names folders of the volume to write to in
    place of the stage's own.

    With `durable=False`, a try removes whatever an earlier one has left, and leaves nothing itself.

    What the container gets depends on the run and on the host, so it is put together in `execute`, not while the DAG is
    parsed.
    """

    template_fields = ("of_run", "settings", "docker_run", *DockerOperator.template_fields)
    overwrite_rtif_after_execution = True  # so that the UI's rendered templates show it all the same
    external_id_key = "container"

    def __init__(
        self,
        *,
        stage: str,
        of_run: str = "",
        publishes: bool = False,
        settings: dict[str, str] | None = None,
        writes: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image=f"customer-segmentation/{stage}",
            network_mode="none",
            mount_tmp_dir=False,
            auto_remove="never",  # this class does, once it has read State.OOMKilled
            **kwargs,
        )
        self.stage = stage
        self.of_run = of_run
        self.publishes = publishes
        self.settings = settings or {}
        self.writes = writes
        self.docker_run = ""  # nothing to render: a field of the templates, so that the UI shows it
        self.identity: dict[str, str] = {}  # the labels of every container of this task in this run
        self.attempt_labels: dict[str, str] = {}
        self.definition: StageContainer | None = None
        self.on_failure_callback = [*self.on_failure_callback, log_failure_reason]
        self.on_retry_callback = [*self.on_retry_callback, log_failure_reason]
        # Not earlier: a process that is killed before Airflow has its result leaves the container to the next try.
        self.on_success_callback = [*self.on_success_callback, remove_container]
        self._task_state: TaskState | None = None
        self._of_stage: dict[str, str] = {}  # the labels by which a later try recognises the container
        self._attachable: str | None = None
        self._manifest: dict[str, Any] | None = None
        self._has_failed = False  # the container, which has ended
        self._is_stopped = self._can_be_interrupted = False

    def execute(self, context: Context) -> Any:
        try:
            with translate_errors():
                self._task_state = TaskState(context)
                self._define(context)
                outcome = self._run(context)
            if outcome.manifest:
                context["ti"].xcom_push(key=MANIFEST_KEY, value=outcome.manifest)
                context["ti"].xcom_push(key=VOLUME_KEY, value=host_settings().host_volume)
                self._read_manifest(outcome.manifest)
            log.info("result: %s", json.dumps(outcome.result))
            return outcome.result
        except AirflowException as error:
            # Before the task has failed, or those who are told when the run has failed might look for it too early.
            with contextlib.suppress(Exception):  # what went wrong matters more than that it cannot be told
                context["ti"].xcom_push(key=REASON_KEY, value=str(error)[:_LONGEST_REASON])
            raise
        finally:
            if not self.durable and self.definition:
                with contextlib.suppress(DockerException, RequestException):
                    self._remove_own_containers()

    def on_kill(self) -> None:
        """Interrupt `execute`, which then decides what becomes of the container. Airflow calls this from a signal handler.

        Only where `execute` waits for the container: a conversation with Airflow or the engine that is broken off cannot be
        taken up again.
        """
        self._is_stopped = True
        if self._can_be_interrupted:
            self._can_be_interrupted = False
            raise StoppedError

    def _read_manifest(self, sha256: str) -> None:
        """Read the manifest while the container is there, if lineage is wanted."""
        assert self.definition is not None
        if lineage.is_enabled():
            path = f"{VOLUME}/{self.definition.writable[0]}/{MANIFEST_NAME}"
            self._manifest = lineage.read_manifest(self.cli, self.container["Id"], path, sha256)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """Describe inputs and outputs to Airflow's OpenLineage provider, which calls this by its name."""
        if self._manifest is None or self.definition is None:
            return None
        return lineage.describe_lineage(self._manifest, self.definition.host.host_volume, self.definition.writable[0])

    # --- the container's life

    def _run(self, context: Context) -> Outcome:
        assert self._task_state is not None
        try:
            self._remove_containers_of_ended_tasks()
            self._attachable = self._find_attachable()
            outcome: Outcome = self.execute_resumable({**context, "task_state_store": self._task_state})  # type: ignore[typeddict-item]
            if self.durable and not self._task_state.is_current(self.container["Id"]):
                raise TransientError("Airflow has given up this try meanwhile: its container is left to a later one")
        except BaseException as error:
            if not self._leaves_container(error):
                with contextlib.suppress(DockerException, RequestException):
                    self._remove_own_containers("" if self._has_failed else "its task ends without it")
            if isinstance(error, StoppedError):
                raise TransientError("the task was told to stop") from None
            raise
        return outcome

    def _leaves_container(self, error: BaseException) -> bool:
        """Determine whether a later try can need the container of this one, which ends with `error`."""
        assert self._task_state is not None
        if not self.durable or self.container is None or isinstance(error, AirflowTaskTimeout):
            return False
        if self._has_failed:
            return not self._task_state.is_current(self.container["Id"])
        return self._task_state.is_needed_later(self.container["Id"])

    def submit_job(self, context: Context) -> str:  # noqa: ARG002 - the mixin's signature
        """Attach to the container of an earlier try that died before it could store the id, or start one."""
        if self._attachable:
            return self._attachable
        if self._is_stopped:
            raise StoppedError
        assert self.definition is not None
        try:
            self._create_container()
        except APIError as error:
            if BIND_SOURCE_MISSING not in str(error) or self.writes:
                raise
            log.info("the run has no folders yet: making them")
            self._make_folders()
            self._create_container()
        self.cli.start(self.container["Id"])
        container: str = self.container["Id"]
        return container

    def get_job_status(self, external_id: Any, context: Context) -> str:  # noqa: ARG002 - the mixin's signature
        return "attachable" if external_id == self._attachable else "gone"

    def is_job_active(self, status: str) -> bool:
        return status == "attachable"  # also one that has ended: what is left of its log is read before its result

    def is_job_succeeded(self, status: str) -> bool:  # noqa: ARG002 - the mixin's signature
        return False

    def poll_until_complete(self, external_id: Any, context: Context) -> Outcome:  # type: ignore[override]
        """Pass the container's log on until it has ended; returns the outcome, because the mixin does after attaching."""
        assert self._task_state is not None
        mark: dict[str, str] = {}
        if external_id == self._attachable:
            self.container = {"Id": external_id}
            mark = self._task_state.get(_LOG_KEY) or {}
            self._log_attachment(mark)
        after = mark.get("time", "") if mark.get("container") == external_id else ""
        log.info("::group::Log of %s", self.stage)
        try:
            self._pass_log_on(external_id, after)
        finally:
            log.info("::endgroup::")
        return self.get_job_result(external_id, context)

    def get_job_result(self, external_id: Any, context: Context) -> Outcome:  # noqa: ARG002 - the mixin's signature
        try:
            return read_container_result(self.cli, external_id, self.stage, str(self.mem_limit))
        except StageError:
            self._has_failed = True
            raise

    def _pass_log_on(self, container: str, after: str) -> None:
        assert self._task_state is not None
        lines = follow(self.cli, container, after)
        level, stored, marked = logging.INFO, after, time.monotonic()
        try:
            while True:
                self._can_be_interrupted = True
                if self._is_stopped:
                    raise StoppedError
                line = next(lines, None)
                self._can_be_interrupted = False
                if line is None:
                    return
                level = level_of(line.text, level)
                log.log(level, "%s", line.text)
                after = line.time
                if time.monotonic() - marked > _LOG_MARK_INTERVAL_S:
                    self._task_state.set(_LOG_KEY, {"container": container, "time": after})
                    stored, marked = after, time.monotonic()
        finally:
            self._can_be_interrupted = False
            if self._is_stopped and after != stored:
                self._task_state.set(_LOG_KEY, {"container": container, "time": after})

    def _log_attachment(self, mark: dict[str, str]) -> None:
        found = self.cli.inspect_container(self.container["Id"])
        state, labels = found["State"], found["Config"]["Labels"]
        log.info(
            "attached to container %s of try %s: it has run since %s%s; its log continues %s",
            found["Id"][:12],
            labels[f"{LABEL}.try"],
            state["StartedAt"],
            "" if state["Running"] else f" and has ended at {state['FinishedAt']}",
            f"after {mark['time']}" if mark.get("container") == found["Id"] else "from its beginning",
        )

    def _find_attachable(self) -> str | None:
        """Find the container that this try would otherwise start, and remove any other of this task.

        Raises TransientError if a later try has a container: this one was given up for lost.
        """
        attachable = None
        for container in self._containers(self.identity):
            if int(container["Labels"][f"{LABEL}.try"]) > int(self.attempt_labels[f"{LABEL}.try"]):
                raise TransientError("a later try of this task has begun")
            if reason := self._reason_to_remove(container):
                self._remove(container, reason)
            else:
                attachable = container["Id"]
        return attachable

    def _reason_to_remove(self, container: dict[str, Any]) -> str:
        """Say why this try cannot attach to a container of this task; empty if it can."""
        differing = {name for name, value in self._of_stage.items() if container["Labels"].get(name) != value}
        if not self.durable or container["State"] not in ("running", "exited"):
            return "left by an earlier try"
        if f"{LABEL}.definition" in differing:
            return "left by an earlier try, and not what this one would start"
        if differing:
            return "left by an earlier try, and the run was cleared since"
        if container["State"] == "exited":
            try:
                read_container_result(self.cli, container["Id"], self.stage, str(self.mem_limit))
            except StageError as error:
                if ExitCode(error.exit_code).retry_can_help:
                    return f"it ended meanwhile: {error}"
        return ""

    def _create_container(self) -> None:
        assert self.definition is not None
        self.container = self.cli.create_container(
            self.image,
            name=self.container_name,
            entrypoint=self.entrypoint,
            command=self.command,
            environment=self.environment,
            user=self.user,
            labels=self.attempt_labels | self._of_stage,
            host_config=self.cli.create_host_config(
                mounts=self.definition.mounts,
                network_mode=self.network_mode,
                mem_limit=self.mem_limit,
                log_config=LogConfig(config=_LOG_OPTIONS),
            ),
        )

    @functools.cached_property
    def cli(self) -> APIClient:
        """DockerOperator's client, made to add what DockerOperator has no argument for."""
        client = self.hook.api_client
        if self.definition:
            client.create_host_config = functools.partial(client.create_host_config, **self.definition.hardening)
        return client

    def _define(self, context: Context) -> None:
        task = context["ti"]
        run = task.run_id
        host = host_settings()
        self.identity = {
            f"{LABEL}.volume": host.host_volume,  # another Airflow on this engine may have a run of the same name
            f"{LABEL}.dag": task.dag_id,
            f"{LABEL}.run": run,
            f"{LABEL}.task": task.task_id,
        }
        if host.project:
            self.identity[f"{LABEL}.project"] = host.project  # so may another one that shares the volume
        if task.map_index is not None and task.map_index >= 0:
            self.identity[f"{LABEL}.map-index"] = str(task.map_index)
        self.labels = self.attempt_labels = {**self.identity, f"{LABEL}.try": str(task.try_number)}
        # The engine gives a name to one container only: it refuses a second one, whoever asks.
        digest = hashlib.sha256(repr(sorted(self.identity.items())).encode()).hexdigest()
        self.container_name = f"{LABEL}-{self.stage}-{digest[:16]}"

        # Who works on what a run has published has a form of its own.
        values, sources = ({}, {}) if self.stage in [stage.name for stage in PIPELINE.others] else given(context["params"])
        settings = next((stage.settings for stage in PIPELINE if stage.name == self.stage), StageSettings).model_fields
        decides = "publish" in settings and values.get("publish") not in ("never", "always")
        if decides and is_for_past_date(context["dag_run"], self.dag.timetable):
            # It reads the current files: published, they would be active as those of an old date.
            values["publish"], sources["publish"] = "never", "backfill"
        engine = self._engine()
        known = [name for name in settings if name in values]
        if self.settings:
            known, values, sources = list(self.settings), self.settings, dict.fromkeys(self.settings, "form")
        on_cluster = "dask_scheduler" in known
        if on_cluster and values["dask_scheduler"] not in host.dask_schedulers.split(","):
            # Whoever answers there can have the stage run code of theirs: who fills in a form does not choose that.
            raise UsageError(
                f"dask_scheduler is {values['dask_scheduler']}: this installation allows {host.dask_schedulers or 'none'}, "
                "which SEGMENTATION_DASK_SCHEDULERS of Airflow's scheduler says"
            )
        self.image = f"customer-segmentation/{'cluster' if on_cluster else self.stage}:{host.image_tag}"
        try:
            image_id = engine.inspect_image(self.image)["Id"]
        except ImageNotFound:
            # DockerOperator would try to pull it.
            raise SetupError(f"the Docker engine has no image {self.image}: build it with `make images`") from None
        cpus = min(host.stage_cpus, engine.info()["NCPU"])  # Docker refuses more than there are

        variables = {name.upper(): to_text(values[name]) for name in known}
        variables["SOURCES"] = ",".join(f"{name}={sources[name]}" for name in known)
        variables["UPSTREAM"] = to_text(self._digests_of_upstream(context, host.host_volume))
        variables["IMAGE"] = f"{self.image} {image_id}"
        of_run = self.of_run or run
        folder = f"runs/{run_folder(of_run)}/{self.stage}"
        self.definition = StageContainer(
            image=self.image,
            command=[f"--run={of_run}"],
            environment={ENVIRONMENT_PREFIX + name: value for name, value in variables.items() if value}
            # A limit on CPU time is no limit on threads: they would count the host's CPUs and wait for each other.
            | {"OMP_NUM_THREADS": str(max(1, int(cpus)))}
            # Where the certificates for a scheduler at tls:// are.
            | ({name: value for name, value in os.environ.items() if name.startswith("DASK_") and value} if on_cluster else {}),
            writable=self.writes or self._writable(folder, values),
            host=host.model_copy(update={"stage_cpus": cpus}),
            network=host.cluster_network if on_cluster else "none",
            entrypoint=("python3", "-m", f"services.{self.stage}") if on_cluster else (),
        )
        self._of_stage = {
            f"{LABEL}.definition": self.definition.digest,
            f"{LABEL}.cleared": str(self._task_state.times_cleared if self._task_state else 0),
        }
        self.network_mode = self.definition.network
        self.entrypoint = list(self.definition.entrypoint) or None
        self.command = self.definition.command
        self.environment = self.definition.environment
        self.mounts = self.definition.mounts
        self.user = host.stage_user
        self.mem_limit = host.stage_memory
        self.docker_run = self.definition.docker_run

    def _writable(self, folder: str, values: dict[str, Any]) -> tuple[str, ...]:
        if not self.publishes:
            return (folder,)
        # An experimental run can only read model/.
        return (folder, "history") if values.get("publish") == "never" else (folder, "history", "model")

    def _engine(self) -> APIClient:
        """Connect to the engine that the environment names, as Docker's own client does."""
        if certificates := os.environ.get("DOCKER_CERT_PATH"):
            paths = [f"{certificates}/{name}.pem" for name in ("ca", "cert", "key")]
            self.tls_ca_cert, self.tls_client_cert, self.tls_client_key = paths
        try:
            return self.hook.api_client
        except TLSParameterError:
            raise SetupError(f"DOCKER_CERT_PATH is {certificates}: expected ca.pem, cert.pem and key.pem there") from None
        except AirflowException:
            raise TransientError(f"no Docker engine answers at {self.docker_url}, or this user may not use it") from None

    def _digests_of_upstream(self, context: Context, volume: str) -> dict[str, str]:
        """Collect what the stages before this one reported, so that trust does not rest on the volume.

        Raises SetupError if they wrote to another volume than this one.
        """
        digests = {}
        for task in sorted(self.get_flat_relatives(upstream=True), key=lambda task: task.task_id):
            if isinstance(task, StageOperator):
                digest = context["ti"].xcom_pull(task_ids=task.task_id, key=MANIFEST_KEY)
                written_to = context["ti"].xcom_pull(task_ids=task.task_id, key=VOLUME_KEY)
                if written_to and written_to != volume:
                    raise SetupError(
                        f"{task.stage} of this run has written to the volume {written_to}, and Airflow has been started with "
                        f"{volume} since: start a new run, or go back with `make up VOLUME={shlex.quote(written_to)} "
                        "CHANGE_VOLUME=yes` and clear this task"
                    )
                if digest:
                    digests[task.stage] = digest
                else:
                    log.warning("%s reported no manifest (marked as done by hand?): not verifying it", task.task_id)
        return digests

    def _make_folders(self) -> None:
        """Make the folders that stages write to, as their user: Docker mounts only what is there.

        This takes a container of its own, so the first stage of a run makes those of all.
        """
        assert self.definition is not None
        host = self.definition.host
        own, *others = map(PurePosixPath, self.definition.writable)
        stages = [own.with_name(task.stage) for task in self.dag.tasks if isinstance(task, StageOperator)]
        container = self.cli.create_container(
            self.image,
            entrypoint=["sh", "-c", 'umask 007 && exec mkdir -p "$@"', "mkdir"],
            command=[f"{VOLUME}/{path}" for path in (*stages, *others)],
            user=self.user,
            labels=self.labels,
            host_config=self.cli.create_host_config(
                mounts=[Mount(VOLUME, host.host_volume, type="bind")], network_mode="none", mem_limit=self.mem_limit
            ),
        )["Id"]
        self.cli.start(container)
        ended = self.cli.wait(container)["StatusCode"]
        said = self.cli.logs(container).decode(errors="replace").strip()
        self.cli.remove_container(container)
        if ended != 0:
            if "No space left" in said:
                raise TransientError(f"the volume is full ({said}): free some space")
            raise SetupError(f"{said}: user {host.stage_user} needs write access to {host.host_volume} on the Docker host")

    # --- containers on the engine

    def _containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cli.containers(
            all=True, filters={"label": [f"{name}={value}" for name, value in labels.items()]}
        )
        return found

    def _remove_own_containers(self, why: str = "") -> None:
        """Remove the container that this try has started or attached to, and any other that it has started."""
        for container in self._containers(self.identity):
            is_attached = self.container is not None and container["Id"] == self.container["Id"]
            if is_attached or container["Labels"].get(f"{LABEL}.try") == self.attempt_labels[f"{LABEL}.try"]:
                self._remove(container, why)

    def _remove(self, container: dict[str, Any], why: str) -> None:
        if why:
            log.warning("removing container %s (%s): %s", container["Id"][:12], container["Status"], why)
        try:
            self.cli.remove_container(container["Id"], force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # another process is removing it
                raise
            with contextlib.suppress(NotFound):
                self.cli.wait(container["Id"], condition="removed")

    def _remove_containers_of_ended_tasks(self) -> None:
        """Remove what processes left that were killed after Airflow had the state of their tasks, or with their last try."""
        assert self._task_state is not None
        volume = f"{LABEL}.volume"
        for container in self._containers({volume: self.identity[volume]}):
            labels = container["Labels"]
            if any(labels.get(name) != value for name, value in self.identity.items()):
                task = [labels.get(f"{LABEL}.{part}", "") for part in ("dag", "run", "task", "map-index")]
                if self._task_state.has_ended(*task):
                    with contextlib.suppress(DockerException, RequestException):  # it is in no one's way
                        self._remove(container, "its task has ended")


def remove_container(context: Context) -> None:
    """Remove the container of a task whose success Airflow has recorded."""
    task = context["task"]
    if isinstance(task, StageOperator) and task.definition:
        with contextlib.suppress(DockerException, RequestException):  # else the next stage that starts removes it
            task._remove_own_containers()


def log_failure_reason(context: Context) -> None:
    """Say last, below Airflow's traceback, why the task failed and how to replay it."""
    log.info("::endgroup::")  # Airflow has opened a section by now, which its UI shows folded
    # Without an exception, it was not the task that noticed, but the scheduler.
    reason = str(context.get("exception") or "the process of the task has gone")
    log.error("%s", reason)
    task = context["task"]
    if isinstance(task, StageOperator) and task.definition:
        log.error("to replay this stage by hand: %s", task.definition.docker_run)
