"""Runs one stage as a container, and makes Airflow see what the stage says.

DockerOperator starts the container and passes its log on. What is added:

- the container is shut in (`containers.py`), and removed in the end whatever happens;
- one that a killed worker left running is removed before its task starts again, and the container's name is that of its
  task, so that there are never two;
- the result, the digest of the manifest and the reason of a failure come from the stage itself (`outcomes.py`);
- the log of a failure ends with the reason and the command that replays the stage by hand.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shlex
from pathlib import PurePosixPath
from typing import Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from docker.api import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound, TLSParameterError
from docker.types import Mount
from requests import RequestException

from dags.containers import VOLUME, StageContainer, host_settings
from dags.outcomes import MOUNT_MISSES, errors_as_airflow_takes_them, read_outcome
from dags.publication import is_for_past_date
from dags.trigger_form import given
from services.contract.errors import PassingError, SetupError, UsageError
from services.contract.runs import run_folder
from services.contract.settings import CONSUMERS, ENVIRONMENT_PREFIX, settings_of
from services.contract.spelling import as_text

LABEL = "customer-segmentation"
MANIFEST_KEY = "manifest"
"""Under this key, a task's XCom holds the sha256 of its stage's manifest."""
VOLUME_KEY = "volume"
"""Under this key, a task's XCom holds the volume on the Docker host that its stage has written to."""
REASON_KEY = "reason"
"""Under this key, a failed task's XCom holds why, for those who are told when the run has failed."""
_LONGEST_REASON = 1000

log = logging.getLogger(__name__)


class StageOperator(DockerOperator):
    """Run `stage` for the DAG run, or for `of_run` if given; `publishes` lets it write to the volume's `model/`.

    What the container gets depends on the run and on the host, so it is put together in `execute`, not while the DAG is
    parsed.
    """

    template_fields = ("of_run", "docker_run", *DockerOperator.template_fields)
    overwrite_rtif_after_execution = True  # so that the UI's rendered templates show it all the same

    def __init__(self, *, stage: str, of_run: str = "", publishes: bool = False, **kwargs: Any) -> None:
        super().__init__(
            image=f"customer-segmentation/{stage}",
            network_mode="none",
            mount_tmp_dir=False,
            auto_remove="never",  # this class does, once it has read State.OOMKilled
            log_opts_max_size="10m",
            log_opts_max_file="2",
            **kwargs,
        )
        self.stage = stage
        self.of_run = of_run
        self.publishes = publishes
        self.docker_run = ""  # nothing to render: a field of the templates, so that the UI shows it
        self.identity: dict[str, str] = {}  # the labels of every container of this task in this run
        self.of_this_try: dict[str, str] = {}
        self.definition: StageContainer | None = None
        self.on_failure_callback = [*self.on_failure_callback, end_log_with_reason]
        self.on_retry_callback = [*self.on_retry_callback, end_log_with_reason]

    def execute(self, context: Context) -> Any:
        try:
            with errors_as_airflow_takes_them():
                self._define(context)
                self._make_way()
                log.info("::group::What %s says", self.stage)
                try:
                    # The exit code is read below, where it means more than that the container failed.
                    with contextlib.suppress(DockerContainerFailedException):
                        self._run_container(context)
                finally:
                    log.info("::endgroup::")
                outcome = read_outcome(self.cli, self.container["Id"], self.stage, str(self.mem_limit))
            if outcome.manifest:
                context["ti"].xcom_push(key=MANIFEST_KEY, value=outcome.manifest)
                context["ti"].xcom_push(key=VOLUME_KEY, value=host_settings().host_volume)
            log.info("result: %s", json.dumps(outcome.result))
            return outcome.result
        except AirflowException as error:
            # Before the task has failed, or those who are told when the run has failed might look for it too early.
            with contextlib.suppress(Exception):  # what went wrong matters more than that it cannot be told
                context["ti"].xcom_push(key=REASON_KEY, value=str(error)[:_LONGEST_REASON])
            raise
        finally:
            if self.definition:
                with contextlib.suppress(DockerException, RequestException):
                    self._remove_containers(self.of_this_try)

    def on_kill(self) -> None:
        """Airflow calls this when the task has to stop, from a signal handler, and would then let `execute` go on."""
        if self.definition:
            self._remove_containers(self.of_this_try, "its task was told to stop")
        raise PassingError("the task was told to stop")

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
        self.labels = self.of_this_try = {**self.identity, f"{LABEL}.try": str(task.try_number)}
        # The engine gives a name to one container only: it refuses a second one, whoever asks.
        digest = hashlib.sha256(repr(sorted(self.identity.items())).encode()).hexdigest()
        self.container_name = f"{LABEL}-{self.stage}-{digest[:16]}"

        # Who works on what a run has published has a form of its own.
        values, sources = ({}, {}) if self.stage in CONSUMERS else given(context["params"])
        settings = settings_of(self.stage).model_fields
        decides = "publish" in settings and values.get("publish") not in ("never", "always")
        if decides and is_for_past_date(context["dag_run"], self.dag.timetable):
            # It reads the current files: published, they would be active as those of an old date.
            values["publish"], sources["publish"] = "never", "backfill"
        engine = self._engine()
        known = [name for name in settings if name in values]
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

        variables = {name.upper(): as_text(values[name]) for name in known}
        variables["SOURCES"] = ",".join(f"{name}={sources[name]}" for name in known)
        variables["UPSTREAM"] = as_text(self._digests_of_upstream(context, host.host_volume))
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
            # An experimental run can only read model/.
            writable=(folder, "model") if self.publishes and values.get("publish") != "never" else (folder,),
            host=host.model_copy(update={"stage_cpus": cpus}),
            network=host.cluster_network if on_cluster else "none",
            entrypoint=("python3", "-m", f"services.{self.stage}") if on_cluster else (),
        )
        self.network_mode = self.definition.network
        self.entrypoint = list(self.definition.entrypoint) or None
        self.command = self.definition.command
        self.environment = self.definition.environment
        self.mounts = self.definition.mounts
        self.user = host.stage_user
        self.mem_limit = host.stage_memory
        self.docker_run = self.definition.docker_run

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
            raise PassingError(f"no Docker engine answers at {self.docker_url}, or this user may not use it") from None

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

    def _run_container(self, context: Context) -> None:
        try:
            super().execute(context)
        except APIError as error:
            if MOUNT_MISSES not in str(error):
                raise
            log.info("the run has no folders yet: making them")
            self._make_folders()
            super().execute(context)

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
                raise PassingError(f"the volume is full ({said}): free some space")
            raise SetupError(f"{said}: user {host.stage_user} needs write access to {host.host_volume} on the Docker host")

    def _make_way(self) -> None:
        """Remove what earlier tries left; raises PassingError where a later try is at it: this one was given up for lost."""
        for container in self._containers(self.identity):
            if int(container["Labels"][f"{LABEL}.try"]) > int(self.of_this_try[f"{LABEL}.try"]):
                raise PassingError("a later try of this task has begun")
        self._remove_containers(self.identity, "left by an earlier try")

    def _containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cli.containers(
            all=True, filters={"label": [f"{name}={value}" for name, value in labels.items()]}
        )
        return found

    def _remove_containers(self, labels: dict[str, str], why: str = "") -> None:
        """Remove every container with these labels: those of this try, or those of every try of the task in this run."""
        for container in self._containers(labels):
            if why:
                log.warning("removing container %s (%s): %s", container["Id"][:12], container["Status"], why)
            try:
                self.cli.remove_container(container["Id"], force=True)
            except NotFound:
                continue
            except APIError as error:
                if error.status_code != 409:  # somebody else is removing it
                    raise
                with contextlib.suppress(NotFound):
                    self.cli.wait(container["Id"], condition="removed")


def end_log_with_reason(context: Context) -> None:
    """Say last, below Airflow's traceback, why the task failed and how to replay it."""
    log.info("::endgroup::")  # Airflow has opened a section by now, which its UI shows folded
    # Without an exception, it was not the task that noticed, but the scheduler.
    reason = str(context.get("exception") or "the process of the task has gone")
    log.error("%s", reason)
    task = context["task"]
    if isinstance(task, StageOperator) and task.definition:
        log.error("to replay this stage by hand: %s", task.definition.docker_run)
