"""The note on a run's page, written into a database of Airflow's as its scheduler does it."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from stagekit.airflow.run_notes import on_dag_run_failed, on_dag_run_success

SUMMARY = "2 segments, published: 1,000 savers; 200 [buyers](http://x)"
NOTE = "2 segments, published: 1,000 savers; 200 \\[buyers\\](http://x)"


@pytest.fixture
def session(airflow_app):
    from airflow import settings

    with settings.Session() as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))  # until a commit, which is never made: an XCom needs no task
        yield session
        session.rollback()


@pytest.fixture
def ended(session):
    """A function that makes a run whose task has pushed a summary or none, as the scheduler has it when it ends."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType

    def make(summary):
        run = DagRun(dag_id="probe", run_id="demo", run_type=DagRunType.MANUAL, run_after=datetime.now(UTC))
        session.add(run)
        session.flush()
        if summary:
            value = XComModel.serialize_value(summary)
            entry = {"dag_run_id": run.id, "run_id": "demo", "dag_id": "probe", "task_id": "segment", "map_index": -1}
            session.add(XComModel(key="summary", value=value, **entry))
            session.flush()
        return run

    return make


@pytest.mark.parametrize("end", [on_dag_run_success, on_dag_run_failed])
def test_the_note_is_the_summary_with_markdown_escaped(ended, end):
    run = ended(SUMMARY)
    end(run, "")
    assert run.note == NOTE


def test_a_run_without_a_summary_gets_no_note(ended):
    run = ended(None)
    on_dag_run_failed(run, "task_failure")
    assert run.note is None


def test_a_note_that_a_user_has_written_is_kept(ended):
    run = ended(SUMMARY)
    run.note = ("for the board", "ana")
    on_dag_run_success(run, "success")
    assert run.note == "for the board"


def test_a_run_that_was_cleared_gets_the_note_of_its_last_result(ended):
    run = ended(SUMMARY)
    run.note = "not published"
    on_dag_run_success(run, "success")
    assert run.note == NOTE


def test_a_note_is_shortened_to_what_the_database_takes(ended):
    run = ended("*" * 1000)
    on_dag_run_success(run, "success")
    assert len(run.note) == 1000
    assert run.note.endswith("…")
