"""Faults of Airflow's own services while a stage runs: a second scheduler, an API server or a task state store that fails."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.airflow import Airflow, wait_for
from tests.chaos.conftest import FULL, Record
from tests.docker.commands import docker

pytestmark = pytest.mark.needs_docker
full_only = pytest.mark.skipif(not FULL, reason="`make chaos` tries it")

N_RUNS = 6
"""More than one scheduler runs at a time: four."""


@pytest.fixture
def two_schedulers(airflow: Airflow) -> Iterator[list[str]]:
    airflow.compose("up", "--detach", "--wait", "--no-deps", "--no-recreate", "--scale=scheduler=2", "scheduler")
    schedulers = airflow.schedulers()
    assert len(schedulers) == 2
    yield schedulers
    docker("rm", "--force", *schedulers)
    airflow.compose("up", "--detach", "--wait", "--no-deps", "--scale=scheduler=1", "scheduler")


@full_only
def test_when_one_of_two_schedulers_is_killed_the_other_attaches_to_its_containers(
    airflow: Airflow, two_schedulers: list[str], record: Record
) -> None:
    runs = [f"wait-two-{number}" for number in range(N_RUNS)]
    with airflow.recorded_events() as events:
        for run in runs:
            airflow.start(run)
        for run in runs:
            airflow.started_by_try(run, 1)
        processes = {scheduler: docker("top", scheduler, "-o", "pid,args") for scheduler in two_schedulers}
        of_scheduler = {
            scheduler: [run for run in runs if f"airflow worker -- {airflow.task(run)['id']}" in processes[scheduler]]
            for scheduler in two_schedulers
        }
        assert sum(map(len, of_scheduler.values())) == N_RUNS
        killed = max(two_schedulers, key=lambda scheduler: len(of_scheduler[scheduler]))
        docker("kill", killed)
        since = time.monotonic()
        for run in set(runs) - set(of_scheduler[killed]):
            airflow.release(run)
        for run in of_scheduler[killed]:
            airflow.attached_by_try(run, 2)
        took = time.monotonic() - since
        for run in of_scheduler[killed]:
            airflow.release(run)
        tasks = {run: airflow.ended(run) for run in runs}
    assert {task["state"] for task in tasks.values()} == {"success"}
    assert {run for run, task in tasks.items() if task["try_number"] == 2} == set(of_scheduler[killed])
    assert {run: events.max_running(run) for run in runs} == dict.fromkeys(runs, 1)
    assert {run: events.n_started(run) for run in runs} == dict.fromkeys(runs, 1)
    wait_for(lambda: not [left for run in runs for left in airflow.remaining_containers(run)], "the removal of the containers")
    split = " and ".join(str(len(of_scheduler[scheduler])) for scheduler in two_schedulers)
    record(
        f"one of two schedulers killed, which ran {split} tasks",
        len(of_scheduler[killed]),
        f"the other one attached to each container, within {took:.0f} s; 1 container each; every run succeeded",
    )


@pytest.mark.parametrize(
    ("fault", "repair", "what"),
    [
        pytest.param("pause", "unpause", "does not answer", marks=full_only),
        pytest.param("stop", "start", "is stopped", marks=full_only),
    ],
)
def test_a_stage_that_ends_while_the_api_server_is_away_runs_once(
    airflow: Airflow, fault: str, repair: str, what: str, record: Record
) -> None:
    run, away_s = f"wait-api-{fault}", 40  # heartbeats may be missing for 15 s, so the try is given up meanwhile
    server = airflow.stack.containers()["api-server"]["Id"]
    with airflow.recorded_events() as events:
        airflow.start(run)
        airflow.started_by_try(run, 1)
        docker(fault, server)
        try:
            airflow.release(run)
            time.sleep(away_s)
        finally:
            docker(repair, server)
        airflow.wait_until_healthy()
        task = airflow.ended(run)
    assert task["state"] == "success"
    assert (events.max_running(run), events.n_started(run)) == (1, 1)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record(
        f"the API server {what} for {away_s} s, in which the stage ends",
        1,
        f"1 container, which ran once; the run succeeded with try {task['try_number']}",
    )


@contextmanager
def broken_state_store(airflow: Airflow) -> Iterator[None]:
    """Make every call of the task state store fail: its table is missing. Airflow's client gives up after three attempts."""
    postgres = airflow.stack.containers()["postgres"]["Id"]

    def sql(statement: str) -> None:
        password = f"--env=PGPASSWORD={airflow.stack.secrets['POSTGRES_PASSWORD']}"
        docker("exec", password, postgres, "psql", "--host=127.0.0.1", "--username=airflow", "--command", statement)

    sql("ALTER TABLE task_state_store RENAME TO task_state_store_away")
    airflow.compose("up", "--detach", "--wait", "--no-deps", "scheduler", EXECUTION_API_RETRIES="3")
    try:
        yield
    finally:
        sql("ALTER TABLE task_state_store_away RENAME TO task_state_store")
        airflow.compose("up", "--detach", "--wait", "--no-deps", "scheduler")


@full_only
def test_without_a_task_state_store_the_next_try_attaches_by_labels(airflow: Airflow, record: Record) -> None:
    run = "wait-store"
    with airflow.recorded_events() as events, broken_state_store(airflow):
        airflow.start(run)
        container = airflow.started_by_try(run, 1)
        assert airflow.kill(f"airflow worker -- {airflow.task(run)['id']}")
        assert container[:12] in airflow.attached_by_try(run, 2)
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert (events.max_running(run), events.n_started(run)) == (1, 1)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record("the task state store fails, and the process of a task is killed", 1, "the next try attached; the run succeeded")


@full_only
def test_restarting_every_service_of_airflow_under_a_stage_leaves_its_container(airflow: Airflow, record: Record) -> None:
    run = "wait-restart"
    with airflow.recorded_events() as events:
        airflow.start(run)
        container = airflow.started_by_try(run, 1)
        since = time.monotonic()
        airflow.compose("restart", "postgres", "api-server", "scheduler", "dag-processor")
        airflow.wait_until_healthy()
        assert container[:12] in airflow.attached_by_try(run, 2)
        took = time.monotonic() - since
        airflow.release(run)
        task = airflow.ended(run)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert (events.max_running(run), events.n_started(run)) == (1, 1)
    wait_for(lambda: airflow.remaining_containers(run) == [], f"the removal of the container of {run}")
    record(
        "`docker compose restart` of all services under a stage",
        1,
        f"the next try attached, after {took:.0f} s; the run succeeded",
    )
