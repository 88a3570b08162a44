"""`make down` stops the stages of its own stack, whatever volume they run on, and no others."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.commands import docker, make

pytestmark = pytest.mark.needs_docker

PROJECT = f"customer-segmentation-down-{os.getpid()}"


@pytest.fixture
def stage(docker_engine: None) -> Iterator[Callable[..., str]]:
    """Start a container that looks like a running stage; gives a function that returns its id."""
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
    """Run `make down` without a word about the volume; `volume` is that of .env, which is not there without it."""
    if volume:
        (folder / "secrets").write_text(f"SEGMENTATION_HOST_VOLUME='{volume}'\n")
    make("down", ENV_FILE=str(folder / "secrets"), COMPOSE_PROJECT_NAME=PROJECT)


def test_a_stage_on_the_volume_that_the_stack_was_started_with_is_stopped(stage: Callable[..., str], tmp_path: Path) -> None:
    bank = tmp_path / "data of the bank"
    of_this_version, of_an_earlier_one = stage(bank, PROJECT), stage(bank)
    down(tmp_path, bank)
    assert not {of_this_version, of_an_earlier_one} & set(running())


def test_so_is_one_on_a_volume_of_before_and_one_without_the_file_of_secrets(stage: Callable[..., str], tmp_path: Path) -> None:
    before, now = stage(tmp_path / "before", PROJECT), stage(tmp_path / "now", PROJECT)
    down(tmp_path)
    assert not {before, now} & set(running())


def test_the_stages_of_another_stack_go_on_even_on_the_same_volume(stage: Callable[..., str], tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    others = {stage(bank, "another"), stage(tmp_path / "elsewhere")}
    down(tmp_path, bank)
    assert others <= set(running())
