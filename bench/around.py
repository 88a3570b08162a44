"""What happens around the stages: Airflow's part in a run, and how images are built. Needs a Docker engine."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.measuring import REPOSITORY, Run, alternate, run
from tests.docker.stack import Stack, running_stack

TAG = "bench"
IMAGES = tuple(sorted(folder.parent.name for folder in (REPOSITORY / "services").glob("*/main.py")))
DAGS = {"pipeline": "customer_segmentation_lab1", "literal": "literal_lab"}
LAST_OF_LAB = {"evaluate_customer_model", "evaluate"}
"""The task that ends what both DAGs do; ours goes on with the segments and the report."""
PARSE = """
import os, tempfile
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
import airflow.sdk, airflow.providers.docker.operators.docker
"""


def measure_parsing(runs: int) -> dict[str, dict[str, list[Run]]]:
    """Import what every DAG of this kind needs, and with it the DAG file."""

    def contest(code: str) -> Mapping[str, Run]:
        return {"start": run(["-c", code])}

    contestants = {
        "imports airflow.sdk and the docker provider": PARSE,
        "and parses dags/customer_segmentation_dag.py": PARSE + "import dags.customer_segmentation_dag",
    }
    return alternate({name: partial(contest, code) for name, code in contestants.items()}, runs)


def measure_runs(folder: Path, runs: int) -> dict[str, Any]:
    """Run both DAGs in turns on the sample data, in one Airflow: seconds of each run, and of the gaps between our tasks."""
    found: dict[str, Any] = {"lab's four stages": {name: [] for name in DAGS}, "all six stages": [], "gaps": []}
    with running_stack(folder, name="bench", TAG=TAG) as stack:
        _add_lab(stack)
        for number in range(runs + 1):
            for name, dag in DAGS.items():
                spans = _run_dag(stack, dag)
                if number == 0:  # what is first asked for is first loaded
                    continue
                begin = spans[0][1]
                ends = {task: end for task, _, end in spans}
                found["lab's four stages"][name].append(next(ends[task] for task in LAST_OF_LAB & ends.keys()) - begin)
                if name == "pipeline":
                    found["all six stages"].append(spans[-1][2] - begin)
                    found["gaps"] += [after[1] - before[2] for before, after in pairwise(spans)]
    return found


def _add_lab(stack: Stack) -> None:
    """Put the lab's DAG, its functions, data and libraries into the running containers."""
    lab = stack.volume.parent / "lab"
    shutil.copytree(stack.volume / "data", lab / "data")
    shutil.copy(REPOSITORY / "bench/literal.py", lab)
    libraries = _docker("create", f"customer-segmentation/evaluate:{TAG}").strip()
    _docker("cp", f"{libraries}:/opt/venv", str(lab / "venv"))
    _docker("rm", libraries)
    subprocess.run(["chmod", "--recursive", "a+rwX", lab], check=True)
    containers = {name: container["Id"] for name, container in stack.containers().items()}
    _docker("cp", f"{lab}/.", f"{containers['scheduler']}:/opt/lab")
    for service in ("scheduler", "dag-processor"):
        _docker("cp", str(REPOSITORY / "bench/lab_dag.py"), f"{containers[service]}:/opt/airflow/dags/")
    _docker("exec", containers["dag-processor"], "airflow", "dags", "reserialize")


def _run_dag(stack: Stack, dag: str) -> list[tuple[str, float, float]]:
    """Run a DAG to its end; returns each task with the seconds of its begin and end, in their order."""
    answer = stack.signed_in.post(f"{stack.address}/api/v2/dags/{dag}/dagRuns", json={"logical_date": None}, timeout=30)
    answer.raise_for_status()
    path = f"dags/{dag}/dagRuns/{answer.json()['dag_run_id']}"
    while (state := stack.get(path)["state"]) not in {"success", "failed"}:
        time.sleep(1)
    if state == "failed":
        raise RuntimeError(f"a run of {dag} failed: nothing was measured")
    tasks = stack.get(f"{path}/taskInstances")["task_instances"]
    spans = [(task["task_id"], _seconds(task["start_date"]), _seconds(task["end_date"])) for task in tasks]
    return sorted(spans, key=lambda span: span[1])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def measure_images() -> dict[str, Any]:
    """Build every image without any layer of before (what was downloaded is kept), and again; and look at the layers."""
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
    """What made each layer that holds anything, from the base up, and its bytes."""
    image = f"customer-segmentation/{name}:{TAG}"
    history = _docker("history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedAt}} {{.CreatedBy}}", image)
    lines = [line.partition(" ") for line in reversed(history.splitlines())]
    return [(made, int(size)) for size, _, made in lines if int(size)]  # with the date, two layers that look alike differ


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def engine_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
