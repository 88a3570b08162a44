"""Measurements that need a Docker engine: what a stage costs in Airflow beyond `docker run`, and the images."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.measuring import REPOSITORY
from services.pipeline import PIPELINE
from tests.docker.stack import Stack, running_stack

TAG = "bench"
DAG = "customer_segmentation_lab1"
IMAGES = tuple(sorted(folder.parent.name for folder in (REPOSITORY / "services").glob("*/main.py")))


def measure_airflow(folder: Path, runs: int) -> dict[str, Any]:
    """Run the DAG and the same images with `docker run`, in turns on the sample data.

    Returns
    -------
    dict
        `tasks` and `docker run`: for each stage the seconds of every run; `gaps`: seconds between the end of a task and the
        start of the next one.
    """
    results: dict[str, Any] = {how: {stage: [] for stage in PIPELINE.stage_names} for how in ("tasks", "docker run")} | {
        "gaps": []
    }
    with running_stack(folder, name="bench", TAG=TAG) as stack:
        for number in range(runs + 1):
            tasks = _run_dag(stack)
            seconds = [_docker_run(stack.volume, stage, f"bench-{number}") for stage in PIPELINE.stage_names]
            if number == 0:  # the first run fills the caches
                continue
            for stage, (begin, end), alone in zip(PIPELINE.stage_names, tasks, seconds, strict=True):
                results["tasks"][stage].append(end - begin)
                results["docker run"][stage].append(alone)
            results["gaps"] += [after[0] - before[1] for before, after in pairwise(tasks)]
    return results


def _run_dag(stack: Stack) -> list[tuple[float, float]]:
    """Run the DAG; returns the start and end of the stages' tasks, in their order."""
    answer = stack.signed_in.post(f"{stack.address}/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None}, timeout=30)
    answer.raise_for_status()
    path = f"dags/{DAG}/dagRuns/{answer.json()['dag_run_id']}"
    while (state := stack.get(path)["state"]) not in {"success", "failed"}:
        time.sleep(1)
    if state == "failed":
        raise RuntimeError("the run of the DAG failed: nothing was measured")
    tasks = stack.get(f"{path}/taskInstances")["task_instances"]
    times = sorted((_seconds(task["start_date"]), _seconds(task["end_date"])) for task in tasks)
    return times[: len(PIPELINE.stage_names)]


def _seconds(time_stamp: str) -> float:
    return datetime.fromisoformat(time_stamp).timestamp()


def _docker_run(volume: Path, stage: str, run: str) -> float:
    image = f"customer-segmentation/{stage}:{TAG}"
    command = ["docker", "run", "--rm", "--network=none", f"--volume={volume}:/shared", image, "--run", run]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def measure_images() -> dict[str, Any]:
    """Build every image without cached layers (downloads stay cached), then five times with; list the layers."""
    cold = _build("--no-cache")
    warm = [_build() for _ in range(5)]
    return {"cold": cold, "warm": warm, "layers": {name: _layers(name) for name in (*IMAGES, "airflow")}}


def _build(*options: str) -> float:
    begin = time.perf_counter()
    subprocess.run(
        ["make", "images", f"TAG={TAG}", f"BAKE=--load {' '.join(options)}"], cwd=REPOSITORY, check=True, capture_output=True
    )
    return time.perf_counter() - begin


def _layers(name: str) -> list[tuple[str, int]]:
    """Return date and command of each layer that is not empty, from the base up, and its bytes."""
    command = ["docker", "history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedAt}} {{.CreatedBy}}"]
    history = subprocess.check_output([*command, f"customer-segmentation/{name}:{TAG}"], text=True)
    lines = [line.partition(" ") for line in reversed(history.splitlines())]
    return [(created, int(size)) for size, _, created in lines if int(size)]  # the date distinguishes equal commands


def is_engine_running() -> bool:
    """Return whether a Docker engine answers."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
