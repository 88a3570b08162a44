"""Killed in the middle: a task, its worker, the scheduler, the engine. Nothing runs twice at a time, all of it in the end."""

import random
import time

import pytest

from tests.chaos.airflow import Airflow, wait_for
from tests.chaos.conftest import Tell, Tries
from tests.chaos.engine import why_not
from tests.docker.commands import docker

pytestmark = pytest.mark.needs_docker


@pytest.mark.parametrize(
    ("who", "title"), [("task", "airflow worker -- {}"), ("worker", "airflow worker -- LocalExecutor: {}")]
)
def test_a_killed_process_leaves_no_second_container_beside_the_next(
    airflow: Airflow, who: str, title: str, tell: Tell
) -> None:
    run = f"wait-{who}"
    with airflow.watched() as watch:
        airflow.start(run)
        airflow.started_by_try(run, 1)
        assert airflow.kill(title.format(airflow.task(run)["id"]))
        airflow.started_by_try(run, 2)
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert (watch.started(run), watch.most_at_once(run)) == (2, 1)
    assert airflow.left(run) == []
    tell(f"SIGKILL of the process of a {who} in Airflow", 1, "2 containers, never 2 at a time; the run succeeded")


def test_tasks_that_are_killed_at_random_moments_all_succeed_in_the_end(airflow: Airflow, tries: Tries, tell: Tell) -> None:
    moments = random.Random(7)
    runs = [f"brief-{number}" for number in range(tries(2, 40))]
    killed = 0
    with airflow.watched() as watch:
        for run in runs:
            airflow.start(run)
            wait_for(lambda run=run: airflow.task(run)["state"] not in {None, "scheduled", "queued"}, f"the start of {run}")
            time.sleep(moments.uniform(0, 5))  # from loading the DAG to removing the container
            killed += airflow.kill(f"airflow worker -- {airflow.task(run)['id']}")
        tasks = [airflow.ended(run) for run in runs]
    assert {task["state"] for task in tasks} == {"success"}
    assert max(watch.most_at_once(run) for run in runs) == 1
    assert [left for run in runs for left in airflow.left(run)] == []
    tell("SIGKILL of the process of a task at a random moment", killed, "never 2 containers at a time; every run succeeded")


def test_a_scheduler_that_is_killed_and_started_again_carries_on(airflow: Airflow, tell: Tell) -> None:
    run = "wait-scheduler"
    with airflow.watched() as watch:
        airflow.start(run)
        airflow.started_by_try(run, 1)
        docker("restart", "--time=0", airflow.stack.containers()["scheduler"]["Id"])
        airflow.started_by_try(run, 2)
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert (watch.started(run), watch.most_at_once(run)) == (2, 1)
    assert airflow.left(run) == []
    tell("SIGKILL of the whole scheduler, started again", 1, "2 containers, never 2 at a time; the run succeeded")


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_an_engine_that_is_restarted_under_a_stage_gets_it_again(airflow: Airflow, tell: Tell) -> None:
    assert airflow.engine is not None
    run = "wait-engine"
    airflow.start(run)
    airflow.started_by_try(run, 1)
    airflow.engine.stop()
    airflow.engine.start()
    airflow.started_by_try(run, 2)
    airflow.release(run)
    task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert airflow.left(run) == []
    tell("the stages' Docker engine restarted under a stage", 1, "the next try succeeded")


def test_make_down_under_a_stage_leaves_nothing_and_make_up_carries_on(airflow: Airflow, tell: Tell) -> None:
    run = "wait-down"
    airflow.start(run)
    airflow.started_by_try(run, 1)
    airflow.stack.make("down")
    assert airflow.left(run) == []
    assert docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={airflow.stack.project}") == ""

    airflow.stack.make("up")
    airflow.started_by_try(run, 2)
    airflow.release(run)
    task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert airflow.left(run) == []
    tell("`make down` under a stage, then `make up`", 1, "no container left; the run succeeded")
