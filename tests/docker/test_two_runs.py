"""Two runs at once, by schedule and by hand, in the whole stack: what they leave, and what is seen of each stage meanwhile."""

import hashlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
from requests.utils import quote

from services.pipeline import PIPELINE
from stagekit.volume.runs import run_folder
from tests.docker.commands import docker
from tests.docker.stack import Stack

pytestmark = pytest.mark.needs_docker

DAG = "customer_segmentation_lab1"
STATUS = ["grep", "-E", "^(Uid|CapEff|CapPrm|CapBnd|NoNewPrivs):", "/proc/1/status"]


@dataclass
class Runs:
    by_schedule: dict[str, Any]
    by_hand: dict[str, Any]
    tasks: list[dict[str, Any]]
    containers: list[dict[str, Any]]  # what `docker inspect` said of each while it ran


@pytest.fixture(scope="module")
def runs(stack: Stack) -> Runs:
    """The run of the last Monday, done again, and one by hand that is asked for at the same moment."""
    client = stack.client()
    address = f"{stack.address}/api/v2/dags/{DAG}"
    wait_until_idle(stack)
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
        wait_until_idle(stack)
        events.terminate()
    names = [scheduled, answers[1].json()["dag_run_id"]]
    found = [stack.get(f"dags/{DAG}/dagRuns/{quote(name, safe='')}") for name in names]
    tasks = [
        task
        for name in names
        for task in stack.get(f"dags/{DAG}/dagRuns/{quote(name, safe='')}/taskInstances")["task_instances"]
    ]
    return Runs(*found, tasks, containers)


def wait_until_idle(stack: Stack) -> None:
    ends = time.monotonic() + 900
    while stack.get(f"dags/{DAG}/dagRuns?state=running&state=queued")["dag_runs"]:
        assert time.monotonic() < ends, "the runs did not end within 15 minutes"
        time.sleep(0.5)


def inspect_each(ids: Any, found: list[dict[str, Any]]) -> None:
    """Look at each container at once: some are gone within a second, and must not wait until another one has answered."""
    for line in ids:
        threading.Thread(target=inspect_one, args=(line.strip(), found), daemon=True).start()


def inspect_one(container_id: str, found: list[dict[str, Any]]) -> None:
    inspected = subprocess.run(["docker", "inspect", container_id], capture_output=True, text=True)
    inside = subprocess.run(["docker", "exec", container_id, *STATUS], capture_output=True, text=True)
    if inspected.returncode == 0:
        container = json.loads(inspected.stdout)[0]
        container["Status"] = dict(entry.split(":\t", 1) for entry in inside.stdout.splitlines())
        found.append(container)


def stages(runs: Runs) -> list[dict[str, Any]]:
    """Those of the two runs that ran a stage, not those that made its folder."""
    return [
        container
        for container in runs.containers
        if container["Name"].startswith("/customer-segmentation-")
        and container["Config"]["Labels"]["customer-segmentation.dag"] == DAG
    ]


def manifests(stack: Stack, run: dict[str, Any]) -> dict[str, Any]:
    """Read what the stages of a run left; the DAG that waits for a publication leaves its own beside it."""
    folder = stack.volume / "runs" / run_folder(run["dag_run_id"])
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/manifest.json")}
    return {stage: manifest for stage, manifest in found.items() if stage not in {stage.name for stage in PIPELINE.others}}


# --- two at once


def test_both_succeed_one_after_the_other(runs: Runs) -> None:
    both = (runs.by_schedule, runs.by_hand)
    assert [(run["run_type"], run["state"]) for run in both] == [("scheduled", "success"), ("manual", "success")]
    first, second = sorted(both, key=lambda run: str(run["start_date"]))
    assert first["end_date"] <= second["start_date"]


def test_each_keeps_its_own_results(stack: Stack, runs: Runs) -> None:
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


def test_what_is_published_is_one_whole_run(stack: Stack, runs: Runs) -> None:
    register = json.loads((stack.volume / "model/segments.json").read_text())
    last = max((runs.by_schedule, runs.by_hand), key=lambda run: str(run["end_date"]))["dag_run_id"]
    folders = [folder for folder in (stack.volume / "model/published").iterdir() if folder.name.endswith(run_folder(last))]
    assert len(folders) == 1, register
    for published in folders[0].iterdir():
        made = stack.volume / "runs" / run_folder(last) / "segment" / published.name
        assert published.read_bytes() == made.read_bytes()
    model = stack.volume / "runs" / run_folder(last) / "train/kmeans_custom.sav"
    assert (stack.volume / "model/kmeans_custom.sav").read_bytes() == model.read_bytes()


# --- what each stage may do, seen from outside while it does it


def test_every_stage_of_both_runs_was_seen(runs: Runs) -> None:
    assert len(stages(runs)) == 2 * len(PIPELINE.stage_names)
    assert len({container["Config"]["Labels"]["customer-segmentation.task"] for container in stages(runs)}) == len(
        PIPELINE.stage_names
    )


def test_whatever_airflow_starts_is_shut_in(runs: Runs) -> None:
    for container in runs.containers:
        host = container["HostConfig"]
        assert host["NetworkMode"] == "none"
        assert list(container["NetworkSettings"]["Networks"]) == ["none"]
        assert host["ReadonlyRootfs"] is True
        assert (host["CapDrop"], host["CapAdd"] or [], host["Privileged"]) == (["ALL"], [], False)
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["PidsLimit"] == 512
        assert (host["Memory"], host["MemorySwap"]) == (4 * 2**30, 4 * 2**30)
        assert host["NanoCpus"] == min(2, os.cpu_count() or 1) * 10**9
        assert (host["PidMode"], host["IpcMode"], host["UTSMode"], host["Devices"] or []) == ("", "private", "", [])
        assert container["Config"]["User"] == f"{os.getuid() or 50000}:0"


def test_a_process_inside_has_no_capability_and_can_gain_none(runs: Runs) -> None:
    seen = [container["Status"] for container in stages(runs) if container["Status"]]
    assert len(seen) >= len(PIPELINE.stage_names), "most of them live long enough to be asked"
    for status in seen:
        assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split() == [str(os.getuid() or 50000)] * 4


def test_a_stage_writes_its_own_folder_and_reads_the_rest_of_the_volume(stack: Stack, runs: Runs) -> None:
    for container in stages(runs):
        mounts = {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in container["Mounts"]}
        stage = container["Config"]["Labels"]["org.opencontainers.image.title"].rpartition("/")[2]
        own = f"runs/{run_folder(container['Config']['Labels']['customer-segmentation.run'])}/{stage}"
        assert mounts.pop("/shared") == (str(stack.volume), False)
        assert mounts.pop(f"/shared/{own}") == (f"{stack.volume}/{own}", True)
        assert mounts == ({"/shared/model": (f"{stack.volume}/model", True)} if stage == "segment" else {})


# --- what must not be seen


def test_no_secret_reaches_a_stage_or_what_airflow_shows_of_it(stack: Stack, runs: Runs) -> None:
    secrets = [value for name, value in stack.secrets.items() if name.endswith(("PASSWORD", "KEY", "SECRET"))]
    assert len(secrets) == 5
    shown = json.dumps(runs.containers) + json.dumps(runs.tasks)
    for task in runs.tasks:
        path = f"dags/{DAG}/dagRuns/{quote(task['dag_run_id'], safe='')}"
        shown += json.dumps(stack.get(f"{path}/taskInstances/{task['task_id']}/logs/{task['try_number']}?full_content=true"))
        shown += json.dumps(stack.get(f"{path}/taskInstances/{task['task_id']}/xcomEntries"))
    assert "docker run --rm" in shown
    assert "SEGMENTATION_UPSTREAM" in shown
    assert not [secret for secret in secrets if secret in shown]


def test_a_stage_is_told_its_settings_and_nothing_of_airflow(runs: Runs) -> None:
    for container in runs.containers:
        names = {entry.partition("=")[0] for entry in container["Config"]["Env"]}
        assert not {name for name in names if name.startswith(("AIRFLOW", "POSTGRES", "DOCKER"))}


def test_nothing_is_left_of_them_on_the_engine(stack: Stack, runs: Runs) -> None:
    of_the_dag = [f"--filter=label=customer-segmentation.{name}" for name in (f"volume={stack.volume}", f"dag={DAG}")]
    assert docker("ps", "--all", "--quiet", *of_the_dag) == ""
