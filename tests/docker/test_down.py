"""`make down` stops the stages of its stack on any volume, and no others."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.commands import docker, make

pytestmark = pytest.mark.needs_docker

PROJECT = f"customer-segmentation-down-{os.getpid()}"


@pytest.fixture
def stage(docker_engine: None) -> Iterator[Callable[..., str]]:
    """A function that starts a container with the labels of a stage and returns its id."""
    base = os.environ.get("BASE_IMAGE", "python:3.13-slim-trixie")
    started = []

    def start(volume: Path, project: str = "") -> str:
        volume.mkdir(exist_ok=True)
        labels = {"dag": "lab", "volume": str(volume)} | ({"project": project} if project else {})
        options = [f"--label=customer-segmentation.{name}={value}" for name, value in labels.items()]
        options += ["--detach", f"--mount=type=bind,source={volume},target=/shared", "--entrypoint=sleep"]
        started.append(docker("run", *options, base, "300"))
        return started[-1]

    yield start
    for left in set(started) & set(running()):
        docker("rm", "--force", left)


def running() -> list[str]:
    return docker("ps", "--all", "--quiet", "--no-trunc").split()


def down(folder: Path, volume: Path | None = None) -> None:
    """Run `make down` with an env file that names a volume, or without an env file."""
    if volume:
        (folder / "secrets").write_text(f"PIPELINE_HOST_VOLUME='{volume}'\n")
    make("down", ENV_FILE=str(folder / "secrets"), COMPOSE_PROJECT_NAME=PROJECT)


def test_stages_are_stopped_on_any_volume_and_without_the_env_file(stage: Callable[..., str], tmp_path: Path) -> None:
    started = {stage(tmp_path / "previous volume", PROJECT), stage(tmp_path / "current volume", PROJECT)}
    down(tmp_path)
    assert not started & set(running())


def test_the_stages_of_another_stack_keep_running_even_on_the_same_volume(stage: Callable[..., str], tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    others = {stage(bank, "another"), stage(tmp_path / "elsewhere")}
    down(tmp_path, bank)
    assert others <= set(running())
