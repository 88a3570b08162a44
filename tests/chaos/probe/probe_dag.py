"""One task that runs the tests' stage like any other, with a retry delay of seconds instead of minutes."""

from datetime import timedelta

from airflow.sdk import DAG

from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form
from stagekit.pipeline import Pipeline, Stage

PROBE = Pipeline("customer-segmentation", (Stage("probe"),))

with DAG(
    "probe",
    schedule=None,
    params=trigger_form(PROBE),
    default_args={"pipeline": PROBE, "retries": 1, "retry_delay": timedelta(seconds=3)},
):
    StageOperator(task_id="probe", stage="probe")
