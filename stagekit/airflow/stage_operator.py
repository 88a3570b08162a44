"""Run one stage as a container that outlives the process that started it, and hand its result to Airflow.

DockerOperator provides the connection to the engine. The modules beside this one add the definition of the hardened container
(`containers`), starting and attaching (`resumable_container`, `task_containers`), the log (`container_log`), the result and the
reason of a failure (`container_result`), and lineage (`lineage`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable
from typing import Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from docker.api import APIClient
from docker.errors import ImageNotFound, TLSParameterError

from stagekit.airflow import lineage
from stagekit.airflow.container_result import translate_errors
from stagekit.airflow.containers import StageCall, StageContainer, define_container, name_image
from stagekit.airflow.host_settings import HostSettings, read_host_settings
from stagekit.airflow.interruption import Interruption
from stagekit.airflow.resumable_container import ResumableContainerMixin
from stagekit.airflow.task_callbacks import log_failure_reason, remove_container
from stagekit.airflow.task_containers import TaskContainers, label_task
from stagekit.airflow.task_results import MANIFEST_KEY, REASON_KEY, SUMMARY_KEY, VOLUME_KEY, collect_upstream_digests
from stagekit.airflow.task_state import TaskState
from stagekit.airflow.trigger_form import choose_run_settings, explain_past_date
from stagekit.errors import SetupError, TransientError
from stagekit.pipeline import Pipeline
from stagekit.volume.runs import run_folder

_MAX_REASON_LENGTH = 1000

log = logging.getLogger(__name__)


class StageOperator(ResumableContainerMixin, DockerOperator):
    """Run a stage in a container.

    Parameters
    ----------
    pipeline : Pipeline
        Declares the stage. Required, usually in the DAG's `default_args`. A stage that publishes can write to `history/` on the
        volume and, unless the run is experimental, to `model/`.
    stage : str
        Name of the stage.
    target_run : str
        Run to work on; the DAG run if empty. Templated.
    settings : dict of str
        Settings of the stage in place of those of the trigger form. Templated.
    writes : tuple of str
        Folders of the volume to write to in place of the stage's own.
    summarise : callable
        Makes a sentence for people from the stage's result: the run's note and the text of notifications.
    **kwargs
        Of DockerOperator. With `durable=False`, a try removes what an earlier one has left, and leaves nothing itself.
    """

    template_fields = ("target_run", "settings", "docker_run", *DockerOperator.template_fields)
    overwrite_rtif_after_execution = True  # the container is defined in `execute`, and the UI shows its definition

    def __init__(
        self,
        *,
        stage: str,
        pipeline: Pipeline | None = None,
        target_run: str = "",
        settings: dict[str, str] | None = None,
        writes: tuple[str, ...] = (),
        summarise: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> None:
        if pipeline is None:
            raise TypeError(f"StageOperator of {stage} has no pipeline: pass it, or add it to the default_args of the DAG")
        super().__init__(
            image=f"{pipeline.name}/{pipeline[stage].image}",
            network_mode="none",
            mount_tmp_dir=False,
            auto_remove="never",  # TaskContainers removes it, once State.OOMKilled has been read
            **kwargs,
        )
        self.pipeline, self.declaration = pipeline, pipeline[stage]
        self.stage, self.target_run, self.writes = stage, target_run, writes
        self.settings, self.summarise = settings or {}, summarise
        self.docker_run = ""  # set in `execute`; a template field, so that the UI shows it
        self.on_failure_callback = [*self.on_failure_callback, log_failure_reason]
        self.on_retry_callback = [*self.on_retry_callback, log_failure_reason]
        # Not earlier: a process that is killed before Airflow has its result leaves the container to the next try.
        self.on_success_callback = [*self.on_success_callback, remove_container]
        self.interruption = Interruption()
        self.definition: StageContainer | None = None
        self._manifest: dict[str, Any] | None = None

    def execute(self, context: Context) -> Any:
        """Run the stage and return its result. Digests, summary and the reason of a failure go into XCom."""
        push = context["ti"].xcom_push
        try:
            with translate_errors():
                call, definition = self._prepare(context)
                ended = self.run_container(context)
            if ended.manifest:
                push(key=MANIFEST_KEY, value=ended.manifest)
                push(key=VOLUME_KEY, value=definition.host.host_volume)
                self._manifest = lineage.read_if_enabled(self.cli, self.container["Id"], definition.writable[0], ended.manifest)
            if self.summarise:
                push(key=SUMMARY_KEY, value=explain_past_date(call.sources) + self.summarise(ended.result))
            log.info("result: %s", json.dumps(ended.result))
            return ended.result
        except AirflowException as error:
            # Before the task has failed, because the notification of the run's failure reads it.
            with contextlib.suppress(Exception):  # the failure itself matters more
                push(key=REASON_KEY, value=str(error)[:_MAX_REASON_LENGTH])
            raise
        finally:
            if not self.durable:
                self.remove_containers()

    def on_kill(self) -> None:
        """Interrupt `execute`, which then decides what becomes of the container. Airflow calls this from a signal handler."""
        self.interruption.request()

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """Describe inputs and outputs to Airflow's OpenLineage provider, which calls this by its name."""
        if self._manifest is None or self.definition is None:
            return None
        return lineage.describe_lineage(
            self._manifest, self.pipeline, self.definition.host.host_volume, self.definition.writable[0]
        )

    def _prepare(self, context: Context) -> tuple[StageCall, StageContainer]:
        """Define the container, which depends on the run and on the host."""
        host, client = read_host_settings(), self._connect()
        host = host.model_copy(update={"stage_cpus": min(host.stage_cpus, client.info()["NCPU"])})
        call = self._make_call(context, host)
        self.image = name_image(call, host, self.pipeline.name)
        try:
            image_id = client.inspect_image(self.image)["Id"]
        except ImageNotFound:  # DockerOperator would try to pull it
            raise SetupError(f"the Docker engine has no image {self.image}: build it with `make images`") from None
        definition = define_container(call, host, self.image, image_id, os.environ)
        self.task_state = TaskState(context)
        labels = label_task(self.pipeline.name, context["ti"], host)
        self.containers = TaskContainers(client, self.pipeline.name, labels, self.stage, definition, self.task_state)
        # The UI shows these.
        self.command, self.environment, self.mounts = definition.command, definition.environment, definition.mounts
        self.container_name, self.docker_run = self.containers.name, definition.docker_run
        self.definition = definition
        return call, definition

    def _make_call(self, context: Context, host: HostSettings) -> StageCall:
        if self.settings or self.declaration in self.pipeline.others:  # the DAG has another form
            values, sources = self.settings, dict.fromkeys(self.settings, "form")
            known = list(values)
        else:
            values, sources = choose_run_settings(self.pipeline, context)
            known = [name for name in self.declaration.settings.model_fields if name in values]
        run = self.target_run or context["ti"].run_id
        own = self.declaration.folder.format(run=run_folder(run), stage=self.stage)
        is_experimental = values.get("publish") == "never"
        published = () if not self.declaration.publishes else ("history",) if is_experimental else ("history", "model")
        writable = self.writes or (own, *published)
        upstream = [task for task in self.get_flat_relatives(upstream=True) if isinstance(task, StageOperator)]
        digests = collect_upstream_digests(context["ti"], upstream, host.host_volume)
        own_values, own_sources = ({name: chosen[name] for name in known} for chosen in (values, sources))
        return StageCall(self.declaration, run, own_values, own_sources, writable, digests)

    def folders_to_make(self) -> list[str]:
        """Return the folders of all stages of the run, which the first one makes in a separate container."""
        if self.writes or self.definition is None:
            return []
        own, *others = self.definition.writable
        stages = [task.stage for task in self.dag.tasks if isinstance(task, StageOperator)]
        return [*(own.removesuffix(self.stage) + stage for stage in stages), *others]

    def _connect(self) -> APIClient:
        """Connect to the engine that the environment names, as Docker's own client does."""
        if certificates := os.environ.get("DOCKER_CERT_PATH"):
            paths = [f"{certificates}/{name}.pem" for name in ("ca", "cert", "key")]
            self.tls_ca_cert, self.tls_client_cert, self.tls_client_key = paths
        try:
            return self.cli
        except TLSParameterError:
            raise SetupError(f"DOCKER_CERT_PATH is {certificates}: expected ca.pem, cert.pem and key.pem there") from None
        except AirflowException:
            raise TransientError(f"no Docker engine answers at {self.docker_url}, or this user may not use it") from None
