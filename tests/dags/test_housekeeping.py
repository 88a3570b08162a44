"""What housekeeping decides and removes inside Airflow."""

import os
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from stagekit.airflow.housekeeping import choose_settings, describe_volume, folders_in_progress, remove_logs
from stagekit.prune.stage import PruneSettings
from stagekit.volume.runs import run_folder

RESULT = {
    "dry_run": False,
    "n_removed": 1,
    "removed": ["a"],
    "n_kept": 10,
    "freed_bytes": 2_400_000_000,
    "free_bytes": 9_000_000_000,
    "used_share": 0.912,
    "is_filling": True,
}


@pytest.fixture
def dag(dag_bag):
    return dag_bag.dags["housekeeping"]


@pytest.fixture
def form(dag):
    return {name: dag.params.get_param(name) for name in dag.params}


@pytest.fixture
def defaults(form):
    return {name: param.value for name, param in form.items()}


# --- the DAG


def test_it_runs_every_night_and_one_at_a_time(dag):
    assert dag.timetable.expression == "0 3 * * *"
    assert (dag.max_active_runs, dag.catchup) == (1, False)


def test_it_has_help_and_names_for_people(dag):
    assert "make prune DRY_RUN=1" in dag.doc_md
    assert all(task.doc_md and task.task_display_name != task.task_id for task in dag.tasks)


def test_the_container_that_removes_runs_can_write_to_runs_alone(dag):
    assert dag.get_task("remove_runs").writes == ("runs",)


def test_the_stage_knows_every_setting_that_it_is_given(dag):
    assert set(dag.get_task("remove_runs").settings) <= set(PruneSettings.model_fields)


def test_the_plan_names_the_settings_and_the_runs_in_progress(dag, defaults, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_HOUSEKEEPING", '{"keep_runs": 3}')
    states = {"now": {"extract": "running"}, "then": {"extract": "success"}}
    context = {"params": defaults, "ti": SimpleNamespace(get_task_states=lambda **_: states)}
    plan = dag.get_task("plan").python_callable
    monkeypatch.setitem(plan.__globals__, "get_current_context", lambda: context)
    assert plan() == defaults | {"keep_runs": 3, "keep": ["now"]}


@pytest.mark.parametrize(("code", "fails"), [(0, False), (1, True)])
def test_old_logs_go_and_the_database_is_cleaned_with_the_address_that_tasks_do_not_see(
    dag, logs, monkeypatch, tmp_path, code, fails
):
    (tmp_path / "airflow").write_text(
        f'#!/bin/sh\necho "$AIRFLOW__DATABASE__SQL_ALCHEMY_CONN $@" >{tmp_path}/called\nexit {code}\n'
    )
    (tmp_path / "airflow").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOUSEKEEPING_DATABASE", "postgresql://airflow")
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(logs))
    remove = dag.get_task("remove_logs_and_rows").python_callable
    if fails:
        with pytest.raises(AirflowException, match="airflow db clean ended with exit code 1"):
            remove({"keep_days": 90, "dry_run": True})
    else:
        assert remove({"keep_days": 90, "dry_run": True})["n_logs"] == 2
    called = (tmp_path / "called").read_text()
    assert called.startswith("postgresql://airflow db clean --clean-before-timestamp ")
    assert "--dry-run" in called


# --- settings


def test_the_form_wins_over_the_variable_and_that_over_the_default(form, defaults, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_HOUSEKEEPING", '{"keep_runs": 20, "keep_days": 7}')
    chosen = choose_settings(form, defaults | {"keep_runs": 3})
    assert chosen == {"keep_runs": 3, "keep_days": 7, "warn_share": 0.85, "dry_run": False}


def test_null_in_the_variable_counts_as_not_set(form, defaults, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_HOUSEKEEPING", '{"keep_runs": null, "keep_days": 7}')
    assert choose_settings(form, defaults) == defaults | {"keep_days": 7}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ('{"keep_runs": 0}', "the Airflow Variable housekeeping sets keep_runs to 0"),
        ('{"keep": 3}', "sets keep, which does not exist: expected some of keep_runs, warn_share, dry_run, keep_days"),
        ("[1]", "the Airflow Variable housekeeping is .* expected a JSON object"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(form, defaults, monkeypatch, variable, message):
    monkeypatch.setenv("AIRFLOW_VAR_HOUSEKEEPING", variable)
    with pytest.raises(AirflowFailException, match=message):
        choose_settings(form, defaults)


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running", "restarting", "up_for_retry"])
def test_a_run_with_a_task_that_has_not_ended_is_in_progress(state):
    states = {"now": {"extract": "success", "train": state}, "then": {"extract": "failed", "train": "upstream_failed"}}
    assert folders_in_progress(states) == ["now"]


def test_runs_in_progress_are_named_by_their_folders():
    run = "manual__2026-01-05T09:00:00+00:00"
    assert folders_in_progress({run: {"extract": "running"}}) == [run_folder(run)]


# --- logs


@pytest.fixture
def logs(tmp_path):
    """A folder of logs: one old, one new, something else, and a link to what is precious."""
    folder = tmp_path / "logs"
    for name, age in (("run_id=a/task_id=x/attempt=1.log", 100), ("run_id=b/attempt=1.log", 0), ("run_id=a/other.txt", 100)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a line")
        os.utime(path, (1000 - age, 1000 - age))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "keep.log").write_text("mine")
    os.utime(precious / "keep.log", (1, 1))
    (folder / "link").symlink_to(precious)
    (folder / "link.log").symlink_to(precious / "keep.log")
    return folder


def test_old_logs_go_with_the_folders_that_they_leave_empty(logs):
    removed = [path.relative_to(logs).as_posix() for path in remove_logs(logs, 950, dry_run=False)]
    assert removed == ["run_id=a/task_id=x/attempt=1.log"]
    assert not (logs / "run_id=a/task_id=x").exists()
    assert (logs / "run_id=a/other.txt").exists()
    assert (logs / "run_id=b/attempt=1.log").exists()


def test_no_link_is_followed_or_removed(logs):
    list(remove_logs(logs, 950, dry_run=False))
    assert (logs / "link" / "keep.log").read_text() == "mine"
    assert (logs / "link.log").is_symlink()


def test_a_dry_run_names_the_logs_and_leaves_them(logs):
    assert [path.name for path in remove_logs(logs, 950, dry_run=True)] == ["attempt=1.log"]
    assert (logs / "run_id=a/task_id=x/attempt=1.log").exists()


# --- words


def test_a_volume_that_fills_is_described_with_the_remedy():
    assert describe_volume(RESULT) == (
        "removed 1 run (2.4 GB); the volume is 91% full, 9.0 GB are free: keep fewer runs, or give the volume more space"
    )


def test_a_volume_with_room_is_described_without_one():
    text = describe_volume(RESULT | {"is_filling": False, "n_removed": 0, "freed_bytes": 0, "dry_run": True})
    assert text == "would remove 0 runs (0.0 GB); the volume is 91% full"
