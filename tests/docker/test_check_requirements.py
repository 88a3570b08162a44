"""Messages of `make up` on a machine that cannot run the stack, before it builds anything."""

import os
import socket
import subprocess
import sys

import pytest

from tests.docker.commands import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docker"))
from check_requirements import GIB, TOOLS, advice_on_memory, problem_with, problem_with_memory

ENGINE, COMPOSE, BUILDX = TOOLS


@pytest.mark.parametrize(
    ("tool", "output"),
    [
        (ENGINE, "20.10.24+dfsg1"),
        (ENGINE, "29.0.1"),
        (COMPOSE, "2.26.1-4"),
        (COMPOSE, "v5.0.0"),
        (BUILDX, "github.com/docker/buildx v0.13.1 e4eb7d1"),
    ],
)
def test_sufficient_versions_are_accepted(tool, output):
    assert problem_with(tool, output) == ""


@pytest.mark.parametrize(
    ("tool", "output", "problem"),
    [
        (ENGINE, "19.03.15", "Docker engine is 19.03.15: expected 20.10 or newer, install a newer Docker Engine"),
        (ENGINE, None, "no Docker engine answers: start it"),
        (COMPOSE, "2.19.0", "docker compose is 2.19.0: expected 2.20 or newer, install a newer compose plugin"),
        (COMPOSE, None, "docker compose is missing: expected 2.20 or newer"),
        (BUILDX, "github.com/docker/buildx v0.10.5 86bdced", "docker buildx is 0.10.5: expected 0.11 or newer"),
    ],
)
def test_a_version_that_is_too_old_is_named_with_the_remedy(tool, output, problem):
    found = problem_with(tool, output)
    assert found.startswith(problem)
    assert "\n" not in found


def test_too_little_memory_is_named_with_the_remedy():
    assert problem_with_memory(2 * GIB).startswith("the Docker engine has 2.0 GiB of memory: expected at least 2.5 GiB; give")
    assert problem_with_memory(3 * GIB) == ""


@pytest.mark.parametrize(
    ("stage_memory", "fits"), [("", False), ("4g", False), ("2g", True), ("2560M", True), ("3000000000", False)]
)
def test_a_stage_that_may_need_more_memory_causes_a_warning(stage_memory, fits):
    assert (advice_on_memory(int(3.9 * GIB), stage_memory) == "") is fits


def check(tmp_path, **environment):
    command = [sys.executable, str(REPOSITORY / "docker/check_requirements.py"), str(tmp_path / "secrets")]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_without_docker_one_line_names_what_to_start(tmp_path):
    ended = check(tmp_path, PATH=str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr.startswith("no Docker engine answers: start it")
    assert ended.stderr.count("\n") == 1


@pytest.mark.needs_docker
def test_an_occupied_port_is_named_before_anything_is_built(docker_engine, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        ended = check(tmp_path, AIRFLOW_PORT=port, COMPOSE_PROJECT_NAME="customer-segmentation-none")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"port {port} is in use by another program: choose one")


@pytest.mark.needs_docker
def test_a_database_without_its_secrets_is_reported_before_anything_is_built(docker_engine, tmp_path):
    project = f"no-such-stack-{os.getpid()}"
    subprocess.run(["docker", "volume", "create", f"{project}_database"], check=True, capture_output=True)
    try:
        ended = check(tmp_path, AIRFLOW_PORT="0", COMPOSE_PROJECT_NAME=project)
    finally:
        subprocess.run(["docker", "volume", "rm", f"{project}_database"], check=True, capture_output=True)
    assert ended.returncode == 1
    assert "the database made with its secrets is there: restore the file" in ended.stderr.splitlines()[-1]
