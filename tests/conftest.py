"""Fixtures for unit tests, integration tests, end-to-end tests and fault injection."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.docker.commands import REPOSITORY, TAG, docker, make
from tests.docker.stack import Stack, running_stack

# Set before NumPy is loaded: threads that spin while they wait are slow if another process needs their core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A temporary folder for Airflow, which reads these variables at its first import.
AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="airflow-tests-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "long enough for HMAC with SHA-512 " * 2  # pragma: allowlist secret
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(REPOSITORY / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")

IS_CI = os.environ.get("REQUIRE_DOCKER") == "1"
"""Whether everything that the tests need has to be there, and all of them run."""
settings.register_profile("local", max_examples=10, deadline=None)  # a busy machine is not a defect
settings.register_profile("ci", max_examples=60, deadline=None)
settings.load_profile("ci" if IS_CI else "local")

pytest_plugins = ["tests.chaos.table", "tests.stagekit.airflow.api_server"]


class Scheduling(LoadScopeScheduling):
    """Distributes tests one by one, except those on the engine and those of a file with a fixture for all of its tests."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid.partition("::")[0]) or nodeid


@cache
def scope_of(file: str) -> str:
    """Return the name of the group of tests that run in one process, empty if the tests of the file run in any."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    if "mark.needs_docker" in text:
        return "engine"
    return file if 'fixture(scope="module")' in text else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not IS_CI and "slow" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with REQUIRE_DOCKER=1 or -m slow"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Skip without Chromium; fail instead if the environment promises all tools (REQUIRE_DOCKER=1)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    from tests.browser.airflow_pages import NoChromiumError, launch

    with playwright.sync_playwright() as started:
        try:
            browser = launch(started)
        except NoChromiumError as reason:
            skip_or_fail(str(reason))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dag_bag() -> Any:
    """Parse the folder of DAGs as Airflow does."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(REPOSITORY / "dags")


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Skip without a Docker engine; fail instead if one is required (REQUIRE_DOCKER=1)."""
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
    """Skip the test, or fail it if an engine is required."""
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def images(docker_engine: None) -> Iterator[None]:
    """Build the images with `make images`."""
    for variable, default in (("BASE_IMAGE", "python:3.13-slim-trixie"), ("POSTGRES_IMAGE", "postgres:17")):
        image = os.environ.get(variable, default)
        commands = (["docker", "image", "inspect", image], ["docker", "pull", image])
        if all(subprocess.run(command, capture_output=True).returncode for command in commands):
            skip_or_fail(f"the engine has no image {image} and cannot pull it: name one in {variable}")
    make("images", TAG=TAG)
    yield
    built = docker("image", "ls", f"--filter=reference=customer-segmentation/*:{TAG}", "--format={{.Repository}}:{{.Tag}}")
    docker("image", "rm", "--force", *built.split())


@pytest.fixture(scope="session")
def stack(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start one stack for all tests; a test must not depend on the state that another one has left."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def lab_data() -> Path:
    """Return the folder with the lab's file.csv and test.csv, which are not part of the project."""
    folder = Path(__file__).parents[2] / "shared/data/lab"
    if not (folder / "file.csv").is_file():
        pytest.skip("the lab's data is not here: expected in ../shared/data/lab")
    return folder
