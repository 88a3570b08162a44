"""A reboot of the host: the power is cut while a run is in progress; switching it on again is the only action."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.airflow import PROBE, wait_for
from tests.chaos.conftest import FULL, Record
from tests.chaos.engine import missing_requirements
from tests.chaos.host import Host
from tests.docker.commands import REPOSITORY, TAG, docker
from tests.docker.stack import free_port, sample_volume

pytestmark = [
    pytest.mark.needs_docker,
    pytest.mark.skipif(not FULL, reason="`make chaos` tries it"),
    pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements()),
]
PROJECT = "customer-segmentation-reboot"


@pytest.fixture
def host(images: None, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    host.boot()
    probe = f"customer-segmentation/probe:{TAG}"
    docker("build", "--quiet", f"--build-arg=TAG={TAG}", f"--tag={probe}", str(PROBE))
    for image in (probe, f"customer-segmentation/airflow:{TAG}", os.environ.get("POSTGRES_IMAGE", "postgres:17")):
        host.copy_image(image)
    try:
        yield host
    finally:
        host.cut_power()


def up(host: Host, volume: Path) -> None:
    """Start the stack on the host by what `make up` does once the images are there."""
    settings = {"PIPELINE": "customer-segmentation", "COMPOSE_PROJECT_NAME": PROJECT, "AIRFLOW_PORT": free_port()}
    settings |= {"TAG": TAG, "DOCKER_HOST": host.socket}
    variables = os.environ | settings | {"COMPOSE_FILE": f"{REPOSITORY}/compose.yaml:{PROBE}/compose.yaml", "PROBE": str(PROBE)}
    file = host.folder / "secrets"
    for command in (
        ["python3", "docker/write_env.py", str(file), "shared_volume", str(volume)],
        ["docker", "compose", f"--env-file={file}", "up", "--detach", "--wait", "--wait-timeout=300"],
    ):
        ended = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def services(host: Host) -> dict[str, str]:
    """Return the status of each service, as `docker ps` words it."""
    lines = host.docker(
        "ps",
        f"--filter=label=com.docker.compose.project={PROJECT}",
        '--format={{.Label "com.docker.compose.service"}} {{.Status}}',
    ).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def airflow(host: Host, *arguments: str) -> str:
    name = host.docker("ps", "--quiet", "--filter=label=com.docker.compose.service=scheduler")
    return host.docker("exec", name, "airflow", *arguments)


def stages(host: Host, *options: str) -> list[str]:
    return host.docker("ps", *options, "--quiet", "--no-trunc", "--filter=name=customer-segmentation-probe").split()


def state(host: Host, run: str) -> str:
    output = airflow(host, "dags", "list-runs", "probe", "--output=json")
    runs = json.loads(output[output.index("[{") :])  # warnings may come first
    return str(next(one["state"] for one in runs if one["run_id"] == run))


def test_after_a_reboot_everything_comes_back_and_the_run_in_progress_succeeds(host: Host, record: Record) -> None:
    volume = sample_volume(host.folder)
    up(host, volume)
    run = "wait-reboot"
    airflow(host, "dags", "trigger", "probe", "--run-id", run)
    wait_for(lambda: bool(stages(host)), "the stage")
    [before] = stages(host)

    host.cut_power()
    host.boot()
    booted = time.monotonic()
    expected = {"postgres", "api-server", "scheduler", "dag-processor"}
    wait_for(lambda: {name for name, status in services(host).items() if "(healthy)" in status} == expected, "the services")
    healthy_s = time.monotonic() - booted
    wait_for(lambda: stages(host) not in ([], [before]), "the stage to run again")
    again_s = time.monotonic() - booted
    assert len(stages(host, "--all")) == 1

    (volume / "data" / f"release-{run}").touch()
    wait_for(lambda: state(host, run) == "success", "the end of the run")
    wait_for(lambda: stages(host, "--all") == [], "the removal of the container")
    record(
        "the host's power cut under a run, and switched on again",
        1,
        f"all services healthy after {healthy_s:.0f} s, the stage ran again after {again_s:.0f} s; the run succeeded",
    )
