"""# Customer segmentation

Sorts the bank's credit-card customers into segments, every Monday at 09:00. The stages read and check the customer table
`data/file.csv`, standardise its features, fit K-Means for several numbers of clusters k, choose k, assign every customer to
a segment, publish the segments if they pass every check, and write a report.

**To start a run**, press *Trigger*. Every field of the form has a default; with the defaults, the run reproduces the
teaching lab from which this project started. An Airflow Variable `customer_segmentation` with a JSON object like
`{"n_init": 20}` changes defaults for all runs. A field of the form takes precedence over the Variable, unless it shows its
built-in default.

**To try something out**, set *Publish* to `never`. Everything is computed and reported, the run's page and report are
marked as experimental, and nothing below `model/` on the volume changes.

**Past dates**: every run reads the files that are on the volume when it starts. A backfill, a cleared run of an earlier
week or a run triggered with an old logical date therefore publishes nothing, unless *Publish* is set to `always`. The run
of the current week publishes, even if it starts late.

**Results**: the note on the run's page contains the number and the sizes of the segments and whether they were published;
if not, it names the failed checks. The tab *Report* shows the rest. The tasks' XComs contain the results (`k_values` and
`sse` of the training, the label of the first new customer). On the volume, `runs/<run>/` contains every artifact with a
manifest, and `model/` the published segments. Each publication updates the asset `active_segments`.

**When a task fails**, its log ends with the reason, the remedy, and a `docker run` command that replays the stage by hand.
Invalid data or settings fail immediately; transient errors are retried after two minutes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG

from dags.assets import PUBLISHED_ALIAS, emit_asset_event, summarise_result
from services.pipeline import PIPELINE
from stagekit.airflow.notifications import notify_failure, notify_not_published
from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import trigger_form

PRIMARY_FIELDS = ("data_file", "feature_columns", "k_values", "n_clusters", "publish", "test_file")
"""The fields that the form shows above its folded sections."""

with DAG(
    dag_id=PIPELINE.dag_id,
    dag_display_name="Customer segmentation",
    description="Sorts credit-card customers into segments with K-Means.",
    doc_md=__doc__,
    schedule="0 9 * * 1",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs that publish at the same time would mix their artifacts
    default_args={"pipeline": PIPELINE, "owner": "custom_student", "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params=trigger_form(PIPELINE, PRIMARY_FIELDS),
    tags=[PIPELINE.name, "k-means"],
):
    extract = StageOperator(
        task_id="extract_customer_data",
        stage="extract",
        task_display_name="Extract customers",
        doc_md="Reads and checks the customer table; of rows with a duplicate id, the last one is kept.",
    )
    transform = StageOperator(
        task_id="transform_for_clustering",
        stage="transform",
        task_display_name="Standardise features",
        doc_md="Drops customers with a missing feature, takes logarithms and treats outliers if configured, and "
        "standardises every feature to mean 0 and variance 1, in all customers or within groups.",
    )
    train = StageOperator(
        task_id="train_kmeans_customer_model",
        stage="train",
        task_display_name="Train K-Means",
        doc_md="Fits K-Means for every number of clusters k and keeps every model. Returns `k_values` and their `sse`.",
    )
    evaluate = StageOperator(
        task_id="evaluate_customer_model",
        stage="evaluate",
        task_display_name="Evaluate model",
        doc_md="Scores every k (elbow of the SSE curve, silhouette, stability, cluster structure), chooses the number of "
        "segments, and labels the new customers of the test file. Returns the label of the first one.",
    )
    segment = StageOperator(
        task_id="segment_customers",
        stage="segment",
        outlets=[PUBLISHED_ALIAS],
        post_execute=emit_asset_event,
        summarise=summarise_result,
        on_success_callback=notify_not_published,
        task_display_name="Segment customers",
        doc_md="Assigns every customer to a segment, compares the segments with the active ones, and publishes them if every "
        "check passes, together with the last fitted model as `model/kmeans_custom.sav`.",
    )
    report = StageOperator(
        task_id="report_segments",
        stage="report",
        task_display_name="Report",
        doc_md="Writes the results of the run as one page, `report.html`.",
    )

    extract >> transform >> train >> evaluate >> segment >> report
