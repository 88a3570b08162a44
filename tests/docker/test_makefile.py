"""What people find when they type `make`."""

import os
import re
from pathlib import Path

import pytest

from tests.docker.commands import REPOSITORY, make


def test_plain_make_lists_every_target_with_what_it_does() -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    listed = dict(line.split(maxsplit=1) for line in make().stdout.splitlines())
    assert set(listed) == set(targets) - {"help"}


def test_a_stage_that_is_not_named_is_asked_for() -> None:
    ended = make("run-stage", check=False)
    assert ended.returncode != 0
    assert "make run-stage STAGE=train" in ended.stderr


def test_a_volume_that_is_not_there_is_named_before_anything_is_built() -> None:
    ended = make("run-stage", STAGE="train", VOLUME="/no/such/volume", check=False)
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[0] == "there is no folder /no/such/volume: name the volume, make run-stage VOLUME=..."


@pytest.mark.parametrize("target", ["clean", "down", "up"])
def test_a_dry_run_touches_no_engine(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In place of docker, since a recipe that is carried out after all would stop and remove what is there.
    (tmp_path / "docker").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "docker" in make("--dry-run", target, ENV_FILE=str(tmp_path / "secrets")).stdout
    assert not (tmp_path / "called").exists()
