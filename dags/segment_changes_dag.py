"""# Customers who changed segment

This DAG starts whenever a run of *Customer segmentation* has published segments. A run that was not published changes nothing
and starts nothing.

**Results** in `runs/<run>/changes/` on the volume, for a CRM:

- `crm.csv`: every customer with segment, name of the segment, and the date since when.
- `changed.csv`: only the customers whose entry has changed since the previous publication: new, departed, moved to another
  segment, or in a segment that was renamed.

Both are made from what was published, even if the folder of the run has changed since. The columns are described in
`docs/crm-export.md`.

**To make the files of an earlier publication again**, press *Trigger* and name the run that published it. Published files are
kept for the last five publications.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from dags.assets import ACTIVE_SEGMENTS
from services.pipeline import PIPELINE
from stagekit.airflow.notifications import notify_failure
from stagekit.airflow.stage_operator import StageOperator

RUN_THAT_PUBLISHED = """
{{- params.run or triggering_asset_events.values() | map("last") | map(attribute="extra.run") | first | default("") -}}
"""

with DAG(
    dag_id="customer_segment_changes",
    dag_display_name="Customers who changed segment",
    description="Lists the segment of every customer and all changes, whenever new segments have been published.",
    doc_md=__doc__,
    schedule=[ACTIVE_SEGMENTS],
    catchup=False,
    max_active_runs=1,
    default_args={"pipeline": PIPELINE, "owner": "custom_student", "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params={
        "run": Param(
            None,
            "Id of the run of Customer segmentation whose publication is exported. Needed only when triggered by hand.",
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
        doc_md="Writes `crm.csv` and `changed.csv`. Returns the number of customers, and of those with each kind of change.",
    )
