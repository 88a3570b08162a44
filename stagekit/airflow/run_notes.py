"""The note on a run's page: k, sizes, and whether the run was published, not published (and why) or experimental.

A task cannot write it: it has no way to the database, and a login of its own for the REST API would be one more secret that can
do far more than this. The scheduler has the run at hand when it ends, and tells listeners.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from dags.assets import DAG_ID, TASK_ID, is_for_past_date, summarise_result
from stagekit.airflow.housekeeping import describe_volume

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

_TASKS = {DAG_ID: TASK_ID, "housekeeping": "remove_runs"}
"""The task of each DAG whose result the note is made from."""
_LONGEST = 1000  # what the database takes
_PAST = (
    "Not published, since this run is for a past date of the schedule and read the current files; Publish set to always would "
    "publish it."
)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001
    _write_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001
    _write_note(dag_run)


def _write_note(dag_run: DagRun) -> None:
    """Write what came of the segments or of the volume, if the task has a result; what a user has written stays."""
    # Every task loads its listeners, and should not wait for what only the scheduler needs.
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    written = dag_run.dag_run_note
    session = object_session(dag_run)
    task = _TASKS.get(dag_run.dag_id)
    if task is None or session is None or (written and written.user_id):
        return
    query = XComModel.get_many(run_id=dag_run.run_id, key="return_value", dag_ids=dag_run.dag_id, task_ids=task)
    found = session.scalars(query).first()
    if found:
        result = XComModel.deserialize_value(found)
        summary = summarise_result(result) if dag_run.dag_id == DAG_ID else describe_volume(result)
        if not result.get("published", True) and dag_run.dag is not None and is_for_past_date(dag_run, dag_run.dag.timetable):
            summary = f"{_PAST} {summary}"
        # Notes are shown as Markdown; segments may have names that users gave them.
        text = re.sub(r"([\\`*_~\[\]<>#|!])", r"\\\1", summary)
        dag_run.note = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
