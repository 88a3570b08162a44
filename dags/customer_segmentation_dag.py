"""# Customer segmentation

Sorts the bank's credit-card customers into segments, every Monday at 09:00: the customer table `data/file.csv` is read
and checked, its features are standardised, K-Means is fitted for every number of clusters asked for, and the results
are evaluated.

**To start a run** press *Trigger*. Every field of the form has a default; with nothing changed, the run is that of the lab.
An Airflow Variable `customer_segmentation` with a JSON object like `{"n_init": 20}` changes defaults for all runs. A
field of the form wins over the Variable; but a field that shows its built-in default counts as not filled in.

**To try something out** set *Publish* to `never`: everything is computed and reported, the run's page and report are marked as
experimental, and nothing below `model/` on the volume changes.

**Past dates**: every run reads the files that are on the volume when it starts. A backfill, a cleared run of an earlier week
or a run triggered with an old logical date therefore publishes nothing, unless *Publish* is set to `always`. The run of the
current week publishes, even if it starts late.

**What comes out**: the note on the run's page says how many segments there are, how large, and whether they were published;
if not, it names the checks that failed. The tab *Report* shows the rest. The tasks' XComs hold the results (`k_values` and
`sse` of the training, the label of the first new customer), `runs/<run>/` on the volume holds every artifact with a manifest
of its making, and `model/` what was last published. Each publication updates the asset `segments_in_force`.

**When a task fails**, its log ends with the reason, what to do about it, and a `docker run` line that replays that one
stage by hand. Wrong data or settings fail at once; passing trouble is tried again after two minutes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from dags.assets import PUBLISHED, announce
from stagekit.airflow.notifications import notify_failure, notify_not_published
from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form

with DAG(
    dag_id="customer_segmentation_lab1",
    dag_display_name="Customer segmentation",
    description="Sorts credit-card customers into segments with K-Means.",
    doc_md=__doc__,
    schedule="0 9 * * 1",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,  # what is published is always one whole run
    default_args={"owner": "custom_student", "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params=trigger_form(),
    tags=["customer-segmentation", "k-means"],
):
    extract = StageOperator(
        task_id="extract_customer_data",
        stage="extract",
        task_display_name="Extract customers",
        doc_md="Reads and checks the customer table; of customers that appear twice, the last row is kept.",
    )
    transform = StageOperator(
        task_id="transform_for_clustering",
        stage="transform",
        task_display_name="Standardise features",
        doc_md="Drops customers that lack a feature, and scales every feature to mean 0 and variance 1.",
    )
    train = StageOperator(
        task_id="train_kmeans_customer_model",
        stage="train",
        task_display_name="Train K-Means",
        doc_md="Fits K-Means for every number of clusters and keeps every model. Returns `k_values` and their `sse`.",
    )
    evaluate = StageOperator(
        task_id="evaluate_customer_model",
        stage="evaluate",
        task_display_name="Evaluate model",
        doc_md="Finds the elbow of the SSE curve, checks stability and cluster structure, chooses the number of segments, and "
        "labels the new customers. Returns the label of the first one.",
    )
    segment = StageOperator(
        task_id="segment_customers",
        stage="segment",
        publishes=True,
        outlets=[PUBLISHED],
        post_execute=announce,
        on_success_callback=notify_not_published,
        task_display_name="Segment customers",
        doc_md="Gives every customer a segment, compares with the active segments, and publishes them if every check passes: "
        "the segments, and beside them the last model of the training as `model/kmeans_custom.sav`.",
    )
    report = StageOperator(
        task_id="report_segments",
        stage="report",
        task_display_name="Report",
        doc_md="Puts what the run found out into one page, `report.html`.",
    )

    extract >> transform >> train >> evaluate >> segment >> report
