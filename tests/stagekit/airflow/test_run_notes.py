"""The note on a run's page, written into a database of Airflow's as its scheduler does it."""

from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG
from sqlalchemy import text

from dags.assets import DAG_ID, TASK_ID
from stagekit.airflow.run_notes import on_dag_run_failed, on_dag_run_success

RESULT = {
    "run": "demo",
    "k": 2,
    "customers": 1200,
    "published": True,
    "held_back": [],
    "segments": [{"id": 1, "name": "savers", "customers": 1000}, {"id": 2, "name": "[buyers](http://x)", "customers": 200}],
}
EXPERIMENT = {**RESULT, "published": False, "experimental": True}
NOTE = "2 segments, 1,200 customers, published: 1,000 savers; 200 \\[buyers\\](http://x)"


@pytest.fixture
def session(airflow_app):
    from airflow import settings

    with settings.Session() as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))  # until a commit, which never comes: an XCom needs no task here
        yield session
        session.rollback()


@pytest.fixture
def ended(session):
    """Make a run whose segments were made, or not; gives the run as its scheduler has it when it ends."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType

    def make(result, dag_id=DAG_ID, task_id=TASK_ID, **more):
        run = DagRun(dag_id=dag_id, run_id="demo", run_type=DagRunType.MANUAL, run_after=datetime.now(UTC), **more)
        session.add(run)
        session.flush()
        if result:
            value = XComModel.serialize_value(result)
            entry = {"dag_run_id": run.id, "run_id": "demo", "dag_id": dag_id, "task_id": task_id, "map_index": -1}
            session.add(XComModel(key="return_value", value=value, **entry))
            session.flush()
        return run

    return make


def test_a_run_that_has_made_segments_says_what_came_of_it(ended):
    run = ended(RESULT)
    on_dag_run_success(run, "success")
    assert run.note == NOTE


def test_an_experimental_run_is_marked_as_one(ended):
    run = ended(EXPERIMENT)
    on_dag_run_success(run, "success")
    assert run.note.startswith("2 segments, 1,200 customers, experimental, not published: ")


def test_so_does_one_that_failed_after_that(ended):
    run = ended(RESULT)
    on_dag_run_failed(run, "task_failure")
    assert run.note == NOTE


def test_a_run_that_has_made_none_says_nothing(ended):
    run = ended(None)
    on_dag_run_failed(run, "task_failure")
    assert run.note is None


def test_the_runs_of_other_dags_are_left_alone(ended):
    run = ended(RESULT, dag_id="another")
    on_dag_run_success(run, "success")
    assert run.note is None


def test_what_a_user_has_written_stays(ended):
    run = ended(RESULT)
    run.note = ("for the board", "ana")
    on_dag_run_success(run, "success")
    assert run.note == "for the board"


def test_a_run_that_is_tried_again_says_what_came_of_it_last(ended):
    run = ended(RESULT)
    run.note = "held back"
    on_dag_run_success(run, "success")
    assert run.note == NOTE


def test_a_note_fits_into_what_the_database_takes(ended):
    segments = [{"id": one, "name": "*" * 80, "customers": 1} for one in range(12)]
    run = ended({**RESULT, "k": 12, "segments": segments})
    on_dag_run_success(run, "success")
    assert len(run.note) == 1000
    assert run.note.endswith("…")


@pytest.mark.parametrize(("result", "explains"), [(EXPERIMENT, True), (RESULT, False)])
def test_the_note_of_a_run_for_a_past_date_says_why_it_is_not_published(ended, result, explains):
    run = ended(result, logical_date=datetime(2026, 1, 5, 9, tzinfo=UTC), start_date=datetime(2026, 3, 5, tzinfo=UTC))
    run.dag = DAG(DAG_ID, schedule="0 9 * * 1")
    on_dag_run_success(run, "success")
    assert run.note.startswith("Not published, since this run is for a past date of the schedule") is explains
    assert "2 segments, 1,200 customers" in run.note


def test_the_note_of_housekeeping_says_how_full_the_volume_is(ended):
    measured = {"dry_run": False, "n_removed": 2, "freed_bytes": 0, "free_bytes": 10**9, "used_share": 0.95, "is_filling": True}
    run = ended(measured, dag_id="housekeeping", task_id="remove_runs")
    on_dag_run_success(run, "success")
    assert run.note.startswith("removed 2 runs (0.0 GB); the volume is 95% full, 1.0 GB are free: keep fewer runs")
