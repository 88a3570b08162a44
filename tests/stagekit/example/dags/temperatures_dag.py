"""# Temperatures

Computes the mean temperature of each station every hour.
"""

from datetime import datetime

from airflow.sdk import DAG

from services.pipeline import PIPELINE
from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form

with DAG(
    dag_id="temperatures",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"pipeline": PIPELINE},
    params=trigger_form(PIPELINE),
    tags=[PIPELINE.name],
):
    read = StageOperator(task_id="read", stage="read")
    average = StageOperator(task_id="average", stage="average")

    read >> average
