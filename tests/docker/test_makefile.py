"""What people find when they type `make`."""

import re

from tests.docker.commands import REPOSITORY, make


def test_plain_make_lists_every_target_with_what_it_does() -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    listed = dict(line.split(maxsplit=1) for line in make().stdout.splitlines())
    assert set(listed) == set(targets) - {"help"}


def test_a_stage_that_is_not_named_is_asked_for() -> None:
    ended = make("stage", check=False)
    assert ended.returncode != 0
    assert "make stage NAME=train" in ended.stderr


def test_a_volume_that_is_not_there_is_named_before_anything_is_built() -> None:
    ended = make("stage", NAME="train", VOLUME="/no/such/volume", check=False)
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[0] == "there is no folder /no/such/volume: name the volume, make stage VOLUME=..."
