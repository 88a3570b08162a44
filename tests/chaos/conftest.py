"""Fixtures of the fault-injection tests.

`make chaos` injects each fault as often as docs/fault-injection.md lists, the CI a few times,
`make test` once or twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.airflow import Airflow, fault_injection_stack
from tests.chaos.engine import Engine, missing_requirements, running_engine
from tests.chaos.volumes import run_pipeline, write_data
from tests.conftest import IS_CI

FULL = os.environ.get("CHAOS") == "full"


Record = Callable[[str, int, str], None]
Tries = Callable[[int, int], int]


@pytest.fixture(scope="session")
def tries() -> Callable[[int, int], int]:
    """Choose how often to inject a fault: `tries(10, 200)` is ten in the CI, two hundred in `make chaos`, else at most two."""
    return lambda short, full: full if FULL else short if IS_CI else min(short, 2)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Add a row to the table of faults: what was injected, how often, and the outcome."""

    def add(fault: str, tries: int, outcome: str) -> None:
        request.node.user_properties.append(("fault", (fault, tries, outcome)))

    return add


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with a successful run; only to be copied."""
    volume = tmp_path_factory.mktemp("finished") / "volume"
    write_data(volume)
    run_pipeline(volume)
    return volume


@pytest.fixture
def volume(finished: Path, tmp_path: Path) -> Path:
    """A volume with a successful run."""
    return Path(shutil.copytree(finished, tmp_path / "volume"))


@pytest.fixture(scope="session")
def stage_engine(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine | None]:
    """An engine for stages alone, or None if this machine cannot run a second one."""
    if missing_requirements():
        yield None
        return
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def airflow(images: None, stage_engine: Engine | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """A stack for fault injection, separate from the one that other tests share."""
    with fault_injection_stack(tmp_path_factory.mktemp("airflow"), stage_engine) as airflow:
        yield airflow
