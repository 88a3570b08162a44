"""# Housekeeping

Limits the growth of the volume, of Airflow's logs and of its database. Every night it removes

- the folders of old runs from `runs/` on the volume, the oldest first. The latest runs are kept, and so are runs whose
  publication is still kept and runs in progress. `data/` and `model/` are never touched, and no link is followed;
- log files of Airflow and rows of its database that are older than a number of days.

**To see what would be removed**, press *Trigger* and tick *Dry run*, or call `make prune DRY_RUN=1`. An Airflow Variable
`housekeeping` with a JSON object like `{"keep_runs": 20}` changes the form's defaults for every night.

**When the volume fills** above a share, the note on the run's page reports it, and a notification is sent if one is
configured.
"""

from __future__ import annotations

import logging
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from services.pipeline import PIPELINE
from stagekit.airflow.housekeeping import choose_settings, describe_volume, folders_in_progress, remove_logs
from stagekit.airflow.notifications import notify_failure, notify_volume_filling
from stagekit.airflow.stage_operator import StageOperator
from stagekit.airflow.trigger_form import make_field
from stagekit.prune.stage import PruneSettings

DATABASE_VARIABLE = "HOUSEKEEPING_DATABASE"
"""Environment variable of the scheduler with the address of Airflow's database, which Airflow hides from tasks."""

log = logging.getLogger(__name__)

PRUNE_FIELDS = PruneSettings.model_json_schema()["properties"]
FORM = {name: make_field(PRUNE_FIELDS[name]) for name in ("keep_runs", "warn_share", "dry_run")} | {
    "keep_days": Param(
        90, "Airflow's logs and database rows that are older are removed.", type="integer", minimum=1, title="Days to keep"
    ),
}

with DAG(
    dag_id="housekeeping",
    dag_display_name="Housekeeping",
    description="Removes old runs, logs and database rows.",
    doc_md=__doc__,
    schedule="0 3 * * *",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"pipeline": PIPELINE, "retries": 1, "retry_delay": timedelta(minutes=2)},
    on_failure_callback=notify_failure,
    params=FORM,
    tags=["housekeeping"],
):

    @task(task_display_name="Plan", doc_md="Reads the settings, and asks Airflow which runs are in progress.")
    def plan() -> dict[str, Any]:
        """Collect the settings and the folders of runs in progress."""
        context = get_current_context()
        settings = choose_settings(FORM, context["params"])
        return settings | {"keep": folders_in_progress(context["ti"].get_task_states(dag_id=PIPELINE.dag_id))}

    remove_runs = StageOperator(
        task_id="remove_runs",
        stage="prune",
        settings={
            "keep_runs": "{{ ti.xcom_pull(task_ids='plan')['keep_runs'] }}",
            "keep": "{{ ti.xcom_pull(task_ids='plan')['keep'] | join(',') }}",
            "warn_share": "{{ ti.xcom_pull(task_ids='plan')['warn_share'] }}",
            "dry_run": "{{ ti.xcom_pull(task_ids='plan')['dry_run'] | lower }}",
        },
        writes=("runs",),
        summarise=describe_volume,
        on_success_callback=notify_volume_filling,
        task_display_name="Remove runs",
        doc_md="Removes the folders of old runs from the volume; its container can write to `runs/` alone.",
    )

    @task(task_display_name="Remove logs and rows", doc_md="Removes old log files, and calls `airflow db clean`.")
    def remove_logs_and_rows(settings: dict[str, Any]) -> dict[str, Any]:
        """Remove old log files and database rows of Airflow."""
        oldest = datetime.now(UTC) - timedelta(days=settings["keep_days"])
        folder, dry_run = Path(conf.get_mandatory_value("logging", "base_log_folder")), settings["dry_run"]
        n_logs = 0
        for path in remove_logs(folder, oldest.timestamp(), dry_run=dry_run):
            log.info("%s %s", "would remove" if dry_run else "removed", path)
            n_logs += 1
        command = ["airflow", "db", "clean", "--clean-before-timestamp", oldest.isoformat(), "--yes", "--skip-archive"]
        command += ["--error-on-cleanup-failure", *(["--dry-run"] if dry_run else [])]
        variables = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": os.environ[DATABASE_VARIABLE]}
        ended = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        for line in filter(None, (ended.stdout + ended.stderr).splitlines()):
            log.info("%s", line)
        if ended.returncode:
            raise AirflowException(f"airflow db clean ended with exit code {ended.returncode}: see the lines above")
        return {"n_logs": n_logs, "older_than": oldest.isoformat(timespec="seconds"), "dry_run": dry_run}

    settings = plan()
    settings >> remove_runs
    remove_logs_and_rows(settings)  # type: ignore[arg-type]
