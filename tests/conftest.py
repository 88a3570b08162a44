"""What every kind of test may ask for."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.docker.commands import REPOSITORY, TAG, docker, make
from tests.docker.stack import Stack, running_stack

# Before NumPy is loaded: threads that spin while they wait collapse beside a busy neighbour.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Airflow in a folder of its own: it reads this when it is first imported, so it stands before everything else.
AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="airflow-of-the-tests-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "secret of the tests, long enough for HMAC with SHA-512 " * 2
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(REPOSITORY / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")

settings.register_profile("whatever the machine", deadline=None)  # a busy one is no defect
settings.load_profile("whatever the machine")

pytest_plugins = ["tests.chaos.table"]


class Scheduling(LoadScopeScheduling):
    """Gives the files with tests on the engine to one process, and test by test the others to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return "engine" if needs_docker(nodeid.partition("::")[0]) else nodeid


@cache
def needs_docker(file: str) -> bool:
    return "mark.needs_docker" in (REPOSITORY / file).read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Skip without a Docker engine; where one is promised (REQUIRE_DOCKER=1), fail instead."""
    for command in (["docker", "info"], ["docker", "compose", "version"], ["docker", "buildx", "version"]):
        try:
            missing = subprocess.run(command, capture_output=True, text=True).returncode
        except FileNotFoundError:
            missing = True
        if missing:
            reason = (
                f"`{' '.join(command)}` fails: needs a Docker engine with compose and buildx (`.ci/run prepare` sets one up)"
            )
            skip_or_fail(reason)


def skip_or_fail(reason: str) -> None:
    """Skip where an engine is a bonus, fail where it is promised."""
    if os.environ.get("REQUIRE_DOCKER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def images(docker_engine: None) -> Iterator[None]:
    """The images as `make images` builds them."""
    for variable, default in (("BASE_IMAGE", "python:3.13-slim-trixie"), ("POSTGRES_IMAGE", "postgres:17")):
        image = os.environ.get(variable, default)
        found = (["docker", "image", "inspect", image], ["docker", "pull", image])
        if all(subprocess.run(command, capture_output=True).returncode for command in found):
            skip_or_fail(f"the engine has no image {image} and cannot pull it: name one in {variable}")
    make("images", TAG=TAG)
    yield
    built = docker("image", "ls", f"--filter=reference=customer-segmentation/*:{TAG}", "--format={{.Repository}}:{{.Tag}}")
    docker("image", "rm", "--force", *built.split())


@pytest.fixture(scope="session")
def stack(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all who ask: what they leave in it must not matter to the others."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def lab_data() -> Path:
    """The folder with the lab's file.csv and test.csv, which are not part of the project."""
    folder = Path(__file__).parents[2] / "shared/data/lab"
    if not (folder / "file.csv").is_file():
        pytest.skip("the lab's own data is not here: it is looked for in ../shared/data/lab")
    return folder
