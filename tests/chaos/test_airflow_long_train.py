"""Kills of task, worker and scheduler at random moments of a long training, on the real engine: the stage runs once."""

import json
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stagekit.volume.runs import run_folder
from tests.chaos.airflow import Airflow, wait_for
from tests.chaos.conftest import FULL, Record
from tests.docker.commands import TAG, docker

pytestmark = [
    pytest.mark.needs_docker,
    pytest.mark.skipif(not FULL, reason="takes a quarter of an hour; test_airflow_killed.py has one kill of each kind"),
]

N_INIT = 500
"""How long `train` takes: about a minute on two cores."""
ROUNDS = 4
RUNS_AT_ONCE = 3
TITLES = {"task": "airflow worker -- {}", "worker": "airflow worker -- LocalExecutor: {}"}


def outputs(airflow: Airflow, run: str) -> dict[str, str]:
    """Read the digests of what `train` has written."""
    manifest = json.loads((airflow.stack.volume / "runs" / run_folder(run) / "train" / "manifest.json").read_text())
    return {record["name"]: record["sha256"] for record in manifest["outputs"]}


def train(airflow: Airflow, run: str) -> dict[str, object]:
    return airflow.task(run, "long_train", "train")


def kill(airflow: Airflow, run: str, who: str) -> float | None:
    """Kill a process of a run's training; returns the seconds until the next try ran, None if it had ended before."""
    task = train(airflow, run)
    if task["state"] != "running" or not airflow.kill(TITLES[who].format(task["id"])):
        return None
    return recovery(airflow, run, int(str(task["try_number"])))


def recovery(airflow: Airflow, run: str, attempt: int) -> float:
    begin = time.monotonic()

    def is_over() -> bool:
        task = train(airflow, run)
        return int(str(task["try_number"])) > attempt and task["state"] in {"running", "success", "failed"}

    wait_for(is_over, f"a try after {attempt} of {run}")
    return time.monotonic() - begin


def test_a_long_training_that_is_killed_again_and_again_runs_once(airflow: Airflow, record: Record) -> None:
    if airflow.engine:
        for stage in ("extract", "transform", "train"):
            airflow.engine.copy_image(f"customer-segmentation/{stage}:{TAG}")
    airflow.start("undisturbed", "long_train", n_init=N_INIT)
    assert airflow.ended("undisturbed", "long_train", "train")["state"] == "success"
    expected = outputs(airflow, "undisturbed")

    moments, recoveries, runs = random.Random(7), {"task": [], "worker": [], "scheduler": []}, []
    with airflow.recorded_events() as events, ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        for number in range(ROUNDS):
            together = [f"killed-{number}-{letter}" for letter in "abc"[:RUNS_AT_ONCE]]
            runs += together
            for run in together:
                airflow.start(run, "long_train", n_init=N_INIT)
            for run in together:
                wait_for(lambda run=run: train(airflow, run)["state"] in {"running", "success"}, f"the training of {run}")
            for who in moments.sample(["task", "worker", "scheduler"], 3):
                time.sleep(moments.uniform(0, 12))
                if who == "scheduler":
                    tries = {run: train(airflow, run) for run in together}
                    hit = {run: int(str(task["try_number"])) for run, task in tries.items() if task["state"] == "running"}
                    docker("restart", "--time=0", airflow.stack.containers()["scheduler"]["Id"])
                    took = list(pool.map(lambda item: recovery(airflow, *item), hit.items()))
                else:
                    took = [s for s in pool.map(lambda run, who=who: kill(airflow, run, who), together) if s is not None]
                recoveries[who] += took
            for run in together:
                assert airflow.ended(run, "long_train", "train")["state"] == "success"
    counts = {run: events.n_started(run, "train") for run in runs}
    assert set(counts.values()) == {1}, counts
    assert {run: events.max_running(run) for run in runs} == dict.fromkeys(runs, 1)
    assert [run for run in runs if outputs(airflow, run) != expected] == []
    wait_for(lambda: not [left for run in runs for left in airflow.remaining_containers(run)], "the removal of the containers")
    for who, took in recoveries.items():
        times = f"the next try ran after {statistics.median(took):.0f} s (at most {max(took):.0f} s)"
        record(f"SIGKILL of a {who} during a long training", len(took), f"1 container each, the same SHA-256; {times}")
    assert sum(map(len, recoveries.values())) >= 30
