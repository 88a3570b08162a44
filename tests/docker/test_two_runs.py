"""Two runs requested at the same time, by the schedule and by hand, in the whole stack."""

import hashlib
import json
import subprocess
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.runs import run_folder
from tests.docker.stack import DAG, Stack, path_of

pytestmark = pytest.mark.needs_docker


@dataclass
class Runs:
    by_schedule: dict[str, Any]
    by_hand: dict[str, Any]
    tasks: list[dict[str, Any]]
    containers: list[dict[str, Any]]  # the output of `docker inspect` of each while it ran


@pytest.fixture(scope="module")
def runs(stack: Stack) -> Runs:
    """The run of the last Monday, cleared, and one by hand that is triggered at the same time."""
    client = stack.client()
    address = f"{stack.address}/api/v2/dags/{DAG}"
    stack.wait_until_idle()
    scheduled = stack.get(f"dags/{DAG}/dagRuns?run_type=scheduled")["dag_runs"][0]["dag_run_id"]
    containers: list[dict[str, Any]] = []
    with subprocess.Popen(
        [
            "docker",
            "events",
            f"--filter=label=customer-segmentation.volume={stack.volume}",
            "--filter=event=start",
            "--format={{.ID}}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as events:
        threading.Thread(target=inspect_each, args=(events.stdout, containers), daemon=True).start()
        answers = [
            client.post(f"{address}/dagRuns/{quote(scheduled, safe='')}/clear", json={"dry_run": False}, timeout=30),
            client.post(f"{address}/dagRuns", json={"logical_date": None, "conf": {"k_values": [2, 3, 4]}}, timeout=30),
        ]
        assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
        stack.wait_until_idle()
        events.terminate()
    names = [scheduled, answers[1].json()["dag_run_id"]]
    found = [stack.get(path_of(name)) for name in names]
    tasks = [task for name in names for task in stack.get(f"{path_of(name)}/taskInstances")["task_instances"]]
    return Runs(*found, tasks, containers)


def inspect_each(ids: Any, found: list[dict[str, Any]]) -> None:
    for line in ids:
        inspected = subprocess.run(["docker", "inspect", line.strip()], capture_output=True, text=True)
        if inspected.returncode == 0:
            found.extend(json.loads(inspected.stdout))


def stages(runs: Runs) -> list[dict[str, Any]]:
    """Return the containers that ran a stage, without those that made its folder."""
    return [
        container
        for container in runs.containers
        if container["Name"].startswith("/customer-segmentation-")
        and container["Config"]["Labels"]["customer-segmentation.dag"] == DAG
    ]


def manifests(stack: Stack, run: dict[str, Any]) -> dict[str, Any]:
    """Read the manifests of the stages of a run, without that of the DAG that runs after a publication."""
    folder = stack.volume / "runs" / run_folder(run["dag_run_id"])
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/manifest.json")}
    return {stage: manifest for stage, manifest in found.items() if stage not in {stage.name for stage in PIPELINE.others}}


# --- two at once


def test_both_runs_succeed_one_after_the_other(runs: Runs) -> None:
    both = (runs.by_schedule, runs.by_hand)
    assert [(run["run_type"], run["state"]) for run in both] == [("scheduled", "success"), ("manual", "success")]
    first, second = sorted(both, key=lambda run: str(run["start_date"]))
    assert first["end_date"] <= second["start_date"]


def test_each_run_has_its_own_results(stack: Stack, runs: Runs) -> None:
    scheduled, manual = manifests(stack, runs.by_schedule), manifests(stack, runs.by_hand)
    assert set(scheduled) == set(manual) == set(PIPELINE.stage_names)
    assert scheduled["train"]["result"]["k_values"] == list(range(2, 11))
    assert manual["train"]["result"]["k_values"] == [2, 3, 4]
    for run in (runs.by_schedule, runs.by_hand):
        for stage, manifest in manifests(stack, run).items():
            assert manifest["run"] == run["dag_run_id"]
            for output in manifest["outputs"]:
                file = stack.volume / "runs" / run_folder(run["dag_run_id"]) / stage / output["name"]
                assert hashlib.sha256(file.read_bytes()).hexdigest() == output["sha256"]


def test_the_published_files_are_those_of_one_run(stack: Stack, runs: Runs) -> None:
    register = json.loads((stack.volume / "model/segments.json").read_text())
    last = max((runs.by_schedule, runs.by_hand), key=lambda run: str(run["end_date"]))["dag_run_id"]
    folders = [folder for folder in (stack.volume / "model/published").iterdir() if folder.name.endswith(run_folder(last))]
    assert len(folders) == 1, register
    for published in folders[0].iterdir():
        made = stack.volume / "runs" / run_folder(last) / "segment" / published.name
        assert published.read_bytes() == made.read_bytes()
    model = stack.volume / "runs" / run_folder(last) / "train/kmeans_custom.sav"
    assert (stack.volume / "model/kmeans_custom.sav").read_bytes() == model.read_bytes()


def test_every_stage_of_both_runs_ran_in_one_container(runs: Runs) -> None:
    tasks = [container["Config"]["Labels"]["customer-segmentation.task"] for container in stages(runs)]
    assert (len(tasks), len(set(tasks))) == (2 * len(PIPELINE.stages), len(PIPELINE.stages))


# --- secrets


def test_no_secret_reaches_a_stage_or_is_shown_by_airflow(stack: Stack, runs: Runs) -> None:
    secrets = [value for name, value in stack.secrets.items() if name.endswith(("PASSWORD", "KEY", "SECRET"))]
    assert len(secrets) == 5
    shown = json.dumps(runs.containers) + json.dumps(runs.tasks)
    for task in runs.tasks:
        path = f"{path_of(task['dag_run_id'])}/taskInstances/{task['task_id']}"
        shown += json.dumps(stack.get(f"{path}/logs/{task['try_number']}?full_content=true"))
        shown += json.dumps(stack.get(f"{path}/xcomEntries"))
    assert "docker run --rm" in shown
    assert "PIPELINE_UPSTREAM" in shown
    assert not [secret for secret in secrets if secret in shown]


def test_a_stage_gets_no_variable_of_airflow(runs: Runs) -> None:
    for container in runs.containers:
        names = {entry.partition("=")[0] for entry in container["Config"]["Env"]}
        assert not {name for name in names if name.startswith(("AIRFLOW", "POSTGRES", "DOCKER"))}
