"""The first three stages of the pipeline, unchanged, with a retry delay of seconds and 20 retries."""

from datetime import timedelta

from airflow.sdk import DAG

from services.pipeline import PIPELINE
from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form

with DAG(
    "long_train",
    schedule=None,
    params=trigger_form(PIPELINE),
    max_active_runs=3,
    default_args={"pipeline": PIPELINE, "retries": 20, "retry_delay": timedelta(seconds=2)},
):
    extract, transform = (StageOperator(task_id=stage, stage=stage) for stage in ("extract", "transform"))
    extract >> transform >> StageOperator(task_id="train", stage="train")
