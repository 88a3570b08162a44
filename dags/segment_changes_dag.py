"""# Customers who changed segment

An example of a DAG that waits for new segments: it starts by itself whenever a run of *Customer segmentation* has published
some, and lists who is in another segment than before. A run that was held back has changed nothing, and starts nothing.

**What comes out**: `runs/<run>/changes/changed.csv` on the volume, beside what the run itself has written: customer, segment
of before, segment of now, by number and name. It is made from what was published, whatever has come of the run's folder.

**To make an older list again** press *Trigger* and name the run that published. Its files are kept for the last five.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from dags.assets import SEGMENTS_IN_FORCE
from stagekit.airflow.notifications import notify_failure
from stagekit.airflow.stage_operator import StageOperator

RUN_THAT_PUBLISHED = """
{{- params.run or triggering_asset_events.values() | map("last") | map(attribute="extra.run") | first | default("") -}}
"""

with DAG(
    dag_id="customer_segment_changes",
    dag_display_name="Customers who changed segment",
    description="Lists who is in another segment than before, whenever new segments have been published.",
    doc_md=__doc__,
    schedule=[SEGMENTS_IN_FORCE],
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "custom_student", "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params={
        "run": Param(
            None,
            "Id of the run of Customer segmentation whose publication is looked at. Needed only when started by hand.",
            type=["string", "null"],
            title="Run that published",
        )
    },
    tags=["customer-segmentation"],
):
    StageOperator(
        task_id="list_changes",
        stage="changes",
        of_run=RUN_THAT_PUBLISHED,
        task_display_name="List changes",
        doc_md="Writes `changed.csv`: the customers who changed segment. Returns how many there are.",
    )
