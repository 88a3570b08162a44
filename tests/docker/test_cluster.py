"""The compose profile `cluster` on the engine, with TLS: who is on its network, and what a stage and its workers do there."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from tests.docker.commands import REPOSITORY, TAG, docker, make
from tests.services.cluster import make_certificates

pytestmark = pytest.mark.needs_docker

PROJECT = f"{TAG}-cluster"
IMAGE = f"customer-segmentation/cluster:{TAG}"
SCHEDULER = "tls://dask-scheduler:8786"
TLS = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/shared/tls/ca.pem"} | {
    f"DASK_DISTRIBUTED__COMM__TLS__{role}__{what}": f"/shared/tls/dask.{suffix}"
    for role in ("SCHEDULER", "WORKER", "CLIENT")
    for what, suffix in (("CERT", "pem"), ("KEY", "key"))
}
WITH_CERTIFICATES = [f"--env={name}={path}" for name, path in TLS.items()]


def wait_until_registered(worker: str) -> None:
    wait = f"until docker logs {worker} 2>&1 | grep --quiet Registered; do sleep 0.2; done"
    subprocess.run(["timeout", "100", "sh", "-c", wait], check=True)


def wait_until_known(n_workers: int) -> None:
    """Wait until the scheduler itself lists `n_workers`: a worker logs its registration before that."""
    wait = f"from distributed import Client; Client('{SCHEDULER}').wait_for_workers({n_workers}, timeout=100)"
    docker("exec", *WITH_CERTIFICATES, f"{PROJECT}-dask-scheduler-1", "python3", "-c", wait)


@pytest.fixture(scope="module")
def volume(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The volume of a cluster of two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    volume = folder / "volume"
    shutil.copytree(REPOSITORY / "shared_volume/data", volume / "data")
    volume.chmod(0o2775)
    make_certificates(volume / "tls")
    (volume / "tls/dask.key").chmod(0o644)  # the containers are another user
    variables = {"TAG": TAG, "COMPOSE_PROJECT_NAME": PROJECT, "COMPOSE_PROFILES": "cluster", "DASK_PORT": "0"} | {
        "PIPELINE": PIPELINE.name
    }
    environment = {**os.environ, **variables, "DASK_PROTOCOL": "tls", **TLS}
    make("images", TAG=TAG, COMPOSE_PROFILES="cluster")
    write = ["python3", "docker/write_env.py", str(folder / ".env"), str(volume)]
    subprocess.run(write, cwd=REPOSITORY, env=environment, check=True)
    compose = ["docker", "compose", "--env-file", str(folder / ".env")]
    try:
        up = [*compose, "up", "--detach", "--wait", "--wait-timeout", "120", "dask-scheduler", "dask-worker"]
        subprocess.run(up, cwd=REPOSITORY, env=environment, check=True)
        for number in (1, 2):
            wait_until_registered(f"{PROJECT}-dask-worker-{number}")
        wait_until_known(2)
        yield volume
    finally:
        subprocess.run([*compose, "down", "--volumes"], cwd=REPOSITORY, env=environment, check=True)
        docker("image", "rm", "--force", IMAGE)


@pytest.fixture
def run_stage(volume: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(stage: str, *flags: str) -> subprocess.CompletedProcess[str]:
        user = docker("container", "inspect", f"{PROJECT}-dask-worker-1", "--format={{.Config.User}}").strip()
        command = ["docker", "run", "--rm", "--init", f"--network={PROJECT}_cluster", f"--volume={volume}:/shared"]
        command += [*WITH_CERTIFICATES, f"--user={user}", "--entrypoint=python3", IMAGE, "-m", f"services.{stage}"]
        return subprocess.run([*command, f"--dask-scheduler={SCHEDULER}", *flags], capture_output=True, text=True)

    return run


def test_the_workers_read_and_write_the_parts_on_the_volume(volume, run_stage):
    results = {}
    for stage, *flags in ("extract", "--rows-per-part=1000"), ("transform",), ("train", "--strategy=sample", "--k-values=2,3"):
        ended = run_stage(stage, "--run=demo", *flags)
        assert ended.returncode == 0, ended.stderr
        assert "2 Dask workers at" in ended.stderr
        results[stage] = json.loads(ended.stdout)
    assert results["extract"]["rows_read"] == 8950
    assert results["train"]["k_values"] == [2, 3]
    assert len(list((volume / "runs/demo/extract/customers").glob("*.pkl"))) > 5


def test_the_images_of_the_stages_have_no_dask(images):
    for stage in ("extract", "transform", "train", "evaluate", "segment"):
        command = ["docker", "run", "--rm", "--entrypoint=python3", f"customer-segmentation/{stage}:{TAG}", "-c", "import dask"]
        assert "No module named 'dask'" in subprocess.run(command, capture_output=True, text=True).stderr


def test_the_network_leads_nowhere_and_the_scheduler_s_page_is_for_this_machine_alone(volume):
    network = json.loads(docker("network", "inspect", f"{PROJECT}_cluster"))[0]
    assert network["Internal"]
    names = sorted(member["Name"].removeprefix(f"{PROJECT}-") for member in network["Containers"].values())
    assert names == ["dask-scheduler-1", "dask-worker-1", "dask-worker-2"]
    published = json.loads(docker("container", "inspect", f"{PROJECT}-dask-scheduler-1"))[0]["NetworkSettings"]["Ports"]
    assert {port: [one["HostIp"] for one in where] for port, where in published.items() if where} == {"8787/tcp": ["127.0.0.1"]}


@pytest.mark.parametrize(
    ("mounted", "wrong"),
    [
        ("", "does not see the volume: mount it so that /shared/runs/stray/extract exists"),
        (":ro", "may not write to /shared/runs"),
    ],
)
def test_a_worker_without_the_volume_or_without_access_is_named_before_anything_is_done(volume, run_stage, mounted, wrong):
    mount = [f"--volume={volume}:/shared{mounted}"] if mounted else [f"--volume={volume}/tls:/shared/tls:ro"]
    options = ["--detach", f"--network={PROJECT}_cluster", *mount, *WITH_CERTIFICATES]
    worker = docker("run", *options, IMAGE, "dask", "worker", SCHEDULER).strip()
    try:
        wait_until_registered(worker)
        ended = run_stage("extract", "--run=stray")
        assert ended.returncode == 78, ended.stderr
        assert wrong in ended.stderr.splitlines()[-1]
    finally:
        docker("container", "rm", "--force", worker)
