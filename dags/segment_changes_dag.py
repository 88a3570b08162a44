"""# Customers who changed segment

An example of a DAG that waits for new segments: it starts whenever a run of *Customer segmentation* has published, and
lists the customers whose segment differs from the previously published one. A run that is not published does not start it.

**Results**: `runs/<run>/changes/changed.csv` on the volume, next to the folders of the run's stages, with customer,
previous segment and current segment, by number and name. It is made from the published files, even if the run's folder has
been removed.

**To repeat an older list**, press *Trigger* and enter the id of the run that published. The files of the last five
publications are kept.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from dags.assets import ACTIVE_SEGMENTS
from stagekit.airflow.notifications import notify_failure
from stagekit.airflow.stage_operator import StageOperator

RUN_THAT_PUBLISHED = """
{{- params.run or triggering_asset_events.values() | map("last") | map(attribute="extra.run") | first | default("") -}}
"""

with DAG(
    dag_id="customer_segment_changes",
    dag_display_name="Customers who changed segment",
    description="Lists the customers who changed segment, whenever new segments have been published.",
    doc_md=__doc__,
    schedule=[ACTIVE_SEGMENTS],
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "custom_student", "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params={
        "run": Param(
            None,
            "Id of the run of Customer segmentation whose publication is compared with the previous one. Needed only if "
            "this DAG is triggered by hand.",
            type=["string", "null"],
            title="Run that published",
        )
    },
    tags=["segments"],
):
    StageOperator(
        task_id="list_changes",
        stage="changes",
        target_run=RUN_THAT_PUBLISHED,
        task_display_name="List changes",
        doc_md="Writes `changed.csv`, the customers who changed segment. Returns their number.",
    )
