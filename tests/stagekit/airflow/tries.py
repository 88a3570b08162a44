"""One try of a task: what Airflow's worker would do, down to the context that it hands to the operator."""

from __future__ import annotations

import copy
import uuid
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG

from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form
from tests.stagekit.airflow.probe_pipeline import PIPELINE


class Try:
    def __init__(self, stage: str = "train", schedule: str | None = None, **arguments: Any) -> None:
        with DAG("probe", schedule=schedule):
            self.operator = StageOperator(task_id=stage, pipeline=PIPELINE, stage=stage, **arguments)
        self.xcom: dict[Any, Any] = {}
        self.instance = SimpleNamespace(
            dag_id="probe",
            run_id=f"manual__{uuid.uuid4()}+00:00",
            task_id=stage,
            map_index=-1,
            try_number=1,
            max_tries=1,
            stats_tags={},
            get_task_states=lambda run_ids, **_: {run: self.states.get(run, {}) for run in run_ids},
            xcom_push=lambda key, value: self.xcom.update({key: value}),
            xcom_pull=lambda task_ids, key: self.xcom.get((task_ids, key)),
        )
        self.states: dict[str, dict[str, str | None]] = {self.instance.run_id: {stage: "running"}}
        """What Airflow knows: the state of each task, by run."""
        self.store: Any = Store()
        self.dag_run = SimpleNamespace(logical_date=None, start_date=None, clear_number=0)
        self.params = {name: field.value for name, field in trigger_form(PIPELINE).items()}

    @property
    def context(self) -> Any:
        return {
            "ti": self.instance,
            "run_id": self.instance.run_id,
            "dag": self.operator.dag,
            "dag_run": self.dag_run,
            "params": self.params,
            "task": self.operator,
            "task_state_store": self.store,
        }

    def run(self) -> Any:
        """Run the task; when it succeeds, call what Airflow calls once it has recorded the success."""
        result = self.operator.execute(self.context)
        for callback in self.operator.on_success_callback:
            callback(self.context)
        return result

    def next_try(self) -> Try:
        """Begin the next try of the same task: another process with another operator, but what Airflow keeps is kept."""
        other = copy.copy(self)
        with DAG("probe", schedule=None):
            other.operator = StageOperator(
                task_id=self.operator.task_id, pipeline=PIPELINE, stage=self.operator.stage, durable=self.operator.durable
            )
        other.instance = SimpleNamespace(**vars(self.instance) | {"try_number": self.instance.try_number + 1})
        return other


class Store(dict[str, Any]):
    """The task state store of the current try."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value
