"""One try of a task: what Airflow's worker would do, down to the context that it hands to the operator."""

import uuid
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG

from dags.stage_operator import StageOperator
from dags.trigger_form import trigger_form


class Try:
    def __init__(self, stage: str = "train", schedule: str | None = None, **arguments: Any) -> None:
        with DAG("probe", schedule=schedule):
            self.operator = StageOperator(task_id=stage, stage=stage, **arguments)
        self.xcom: dict[Any, Any] = {}
        self.instance = SimpleNamespace(
            dag_id="probe",
            run_id=f"manual__{uuid.uuid4()}+00:00",
            task_id=stage,
            map_index=-1,
            try_number=1,
            xcom_push=lambda key, value: self.xcom.update({key: value}),
            xcom_pull=lambda task_ids, key: self.xcom.get((task_ids, key)),
        )
        self.dag_run = SimpleNamespace(logical_date=None, start_date=None)
        self.params = {name: field.value for name, field in trigger_form().items()}

    @property
    def context(self) -> Any:
        return {
            "ti": self.instance,
            "run_id": self.instance.run_id,
            "dag_run": self.dag_run,
            "params": self.params,
            "task": self.operator,
        }

    def run(self) -> Any:
        return self.operator.execute(self.context)
