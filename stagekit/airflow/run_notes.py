"""The note on a run's page: the summary that a task of the run has made of its result.

A task cannot write the note: it has no access to the database, and separate credentials for the REST API would be one more
secret with far more rights than this. The scheduler has the run at hand when it ends, and calls listeners.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from stagekit.airflow.task_results import SUMMARY_KEY

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

_MAX_LENGTH = 1000  # limit of the database


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001
    """Write the note of a run that has succeeded."""
    _write_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001
    """Write the note of a run that has failed, if its summary was made before."""
    _write_note(dag_run)


def _write_note(dag_run: DagRun) -> None:
    """Write the summary as the run's note; a note that a user has written is kept."""
    # Imported here: every task loads its listeners, and should not wait for what only the scheduler needs.
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    note = dag_run.dag_run_note
    session = object_session(dag_run)
    if session is None or (note and note.user_id):
        return
    query = XComModel.get_many(run_id=dag_run.run_id, key=SUMMARY_KEY, dag_ids=dag_run.dag_id)
    entry = session.scalars(query).first()
    if entry:
        # Notes are shown as Markdown, and a summary can contain names that users chose.
        text = re.sub(r"([\\`*_~\[\]<>#|!])", r"\\\1", XComModel.deserialize_value(entry))
        dag_run.note = text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
