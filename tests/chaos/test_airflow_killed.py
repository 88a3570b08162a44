"""Kills of a task, its worker, the scheduler, the engine and all containers: the stage keeps running, or runs again."""

import os
import random
import signal
import time

import pytest

from tests.chaos.airflow import Airflow, wait_for
from tests.chaos.conftest import FULL, Record, Tries
from tests.chaos.engine import missing_requirements
from tests.docker.commands import docker

pytestmark = pytest.mark.needs_docker


@pytest.mark.parametrize(
    ("who", "title", "number"),
    [
        ("task", "airflow worker -- {}", signal.SIGKILL),
        ("worker", "airflow worker -- LocalExecutor: {}", signal.SIGKILL),
        # As when the machine or a pod is shut down: the worker passes the signal on to the task.
        ("worker", "airflow worker -- LocalExecutor: {}", signal.SIGTERM),
    ],
)
def test_the_container_of_a_killed_process_keeps_running_and_the_next_try_attaches_to_it(
    airflow: Airflow, who: str, title: str, number: signal.Signals, record: Record
) -> None:
    run = f"wait-{who}-{number}"
    with airflow.recorded_events() as events:
        airflow.start(run)
        container = airflow.started_by_try(run, 1)
        assert airflow.kill(title.format(airflow.task(run)["id"]), number)
        assert container[:12] in airflow.attached_by_try(run, 2)
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert events.n_started(run) == 1
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record(
        f"{number.name} for the process of a {who} in Airflow", 1, "the next try attached to the container; the run succeeded"
    )


def test_tasks_that_are_killed_at_random_moments_succeed(airflow: Airflow, tries: Tries, record: Record) -> None:
    moments = random.Random(7)
    runs = [f"brief-{number}" for number in range(tries(2, 40))]
    killed = 0
    with airflow.recorded_events() as events:
        for run in runs:
            airflow.start(run)
            wait_for(lambda run=run: airflow.task(run)["state"] not in {None, "scheduled", "queued"}, f"the start of {run}")
            time.sleep(moments.uniform(0, 5))  # from loading the DAG to removing the container
            killed += airflow.kill(f"airflow worker -- {airflow.task(run)['id']}")
        tasks = [airflow.ended(run) for run in runs]
    assert {task["state"] for task in tasks} == {"success"}
    assert max(events.max_running(run) for run in runs) == 1
    assert {events.n_started(run) for run in runs} == {1}
    wait_for(lambda: not [left for run in runs for left in airflow.remaining_containers(run)], "the removal of the containers")
    record("SIGKILL of the process of a task at a random moment", killed, "1 container each; every run succeeded")


@pytest.mark.parametrize(
    ("how", "grace_s"),
    [("killed", "0"), pytest.param("stopped", "10", marks=pytest.mark.skipif(not FULL, reason="`make chaos` tries it"))],
)
def test_a_restarted_scheduler_attaches_to_the_container(airflow: Airflow, how: str, grace_s: str, record: Record) -> None:
    run = f"wait-scheduler-{how}"
    with airflow.recorded_events() as events:
        airflow.start(run)
        airflow.started_by_try(run, 1)
        docker("restart", f"--time={grace_s}", airflow.stack.containers()["scheduler"]["Id"])
        airflow.attached_by_try(run, 2)
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert events.n_started(run) == 1
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record(f"the whole scheduler {how} and started again", 1, "the next try attached to the container; the run succeeded")


@pytest.mark.parametrize("how", ["marked as failed", "of a stopped run", "cleared"])
def test_a_task_that_a_user_stops_takes_its_container_with_it(airflow: Airflow, how: str, record: Record) -> None:
    run = f"wait-{how.rpartition(' ')[2]}"
    airflow.start(run)
    first = airflow.started_by_try(run, 1)
    if how == "marked as failed":
        airflow.set_state(run, "failed")
    elif how == "of a stopped run":
        airflow.stop_run(run)
    else:
        airflow.clear(run)
        second = airflow.started_by_try(run, 2)
        assert airflow.remaining_containers(run) == [second[:12]]
        assert first != second
        airflow.release(run)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    assert airflow.ended(run)["state"] == ("success" if how == "cleared" else "failed")
    record(f"a running task, {how} by hand", 1, "its container is removed")


@pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements())
def test_a_stage_whose_engine_restarts_runs_again(airflow: Airflow, record: Record) -> None:
    assert airflow.engine is not None
    run = "wait-engine"
    airflow.start(run)
    airflow.started_by_try(run, 1)
    airflow.engine.stop()
    airflow.engine.start()
    second = airflow.started_by_try(run, 2)
    assert airflow.remaining_containers(run) == [second[:12]]
    airflow.release(run)
    task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record("the stages' Docker engine restarted under a stage", 1, "the next try succeeded")


@pytest.mark.skipif(os.geteuid() != 0, reason="kills the processes of containers, which takes root")
def test_after_a_kill_of_every_container_the_run_in_progress_succeeds(airflow: Airflow, record: Record) -> None:
    run = "wait-power"
    airflow.start(run)
    airflow.kill_all_containers(airflow.started_by_try(run, 1))
    cut = time.monotonic()
    airflow.wait_until_healthy()
    airflow.started_by_try(run, 2)
    recovered = time.monotonic() - cut
    airflow.release(run)
    task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record(
        "SIGKILL of every container at once",
        1,
        f"the stage ran again after {recovered:.0f} s; the run succeeded",
    )


def test_make_down_under_a_stage_leaves_no_container_and_make_up_continues_the_run(airflow: Airflow, record: Record) -> None:
    run = "wait-down"
    airflow.start(run)
    airflow.started_by_try(run, 1)
    airflow.stack.make("down")
    assert airflow.remaining_containers(run) == []
    assert docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={airflow.stack.project}") == ""

    airflow.stack.make("up")
    airflow.started_by_try(run, 2)
    airflow.release(run)
    task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert airflow.remaining_containers(run) == []
    record("`make down` under a stage, then `make up`", 1, "no container left; the run succeeded")
