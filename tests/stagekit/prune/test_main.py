"""Housekeeping on a volume that is made here: what goes, what stays, and what a kill in the middle leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from stagekit.errors import DataError, SetupError
from stagekit.prune.main import main
from stagekit.prune.stage import PruneSettings
from stagekit.volume import files
from stagekit.volume.manifest import FileRecord
from stagekit.volume.registry import Publication, Registry, RunEntry
from tests.conftest import IS_CI
from tests.stagekit.declaration import PIPELINE

PRUNE = """
from stagekit.stage.run import run_stage
from tests.conftest import IS_CI
from tests.stagekit.declaration import PIPELINE
run_stage(PIPELINE, "prune")
"""
STAGES = ("read", "average")


def add_run(volume, name, age_h, n_files=1):
    """Make the folder of a run whose stages have ended `age_h` hours ago."""
    for stage in STAGES:
        folder = volume / "runs" / name / stage
        folder.mkdir(parents=True)
        for number in range(n_files):
            (folder / f"part-{number}.pkl").write_bytes(b"x" * 100)
        (folder / "manifest.json").write_text("{}")
        then = time.time() - 3600 * age_h
        os.utime(folder / "manifest.json", (then, then))


@pytest.fixture
def volume(tmp_path):
    """Five runs, a to e from the oldest on, and the data and the model beside them."""
    for age_h, name in enumerate("edcba"):
        add_run(tmp_path, name, age_h)
    for folder in ("data", "model", "history"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "precious").write_text("keep me")
    return tmp_path


def prune(volume, **settings):
    return main(PruneSettings(volume=volume, **settings), PIPELINE)


def left(volume):
    return sorted(path.name for path in (volume / "runs").iterdir())


def publish(volume, *runs):
    """Write a register that names the runs as published, the last one as active."""
    entries = [
        RunEntry[Publication](
            run=run,
            publication=Publication(
                folder=f"{number:06d}-{run}",
                published=datetime.now(UTC),
                files=(FileRecord(name="means.json", sha256="0" * 64, bytes=1),),
            ),
        )
        for number, run in enumerate(runs, 1)
    ]
    register = Registry(active_run=runs[-1], publications=len(runs), runs=tuple(entries))
    (volume / "model" / "registry.json").write_bytes(register.to_checksummed_json())


def test_the_last_runs_stay_and_older_ones_go_the_oldest_first(volume):
    result = prune(volume, keep_runs=2)
    assert result["removed"] == ["a", "b", "c"]
    assert left(volume) == ["d", "e"]
    assert result["freed_bytes"] == 3 * 2 * 102


def test_published_runs_stay(volume):
    publish(volume, "a", "c")
    prune(volume, keep_runs=1)
    assert left(volume) == ["a", "c", "e"]


def test_runs_that_airflow_names_as_in_progress_stay(volume):
    prune(volume, keep_runs=1, keep="b,d")
    assert left(volume) == ["b", "d", "e"]


def test_a_run_of_which_a_stage_is_at_work_stays(volume):
    descriptor = files.lock(volume / "runs" / "b" / "average")
    try:
        prune(volume, keep_runs=1)
        assert left(volume) == ["b", "e"]
    finally:
        os.close(descriptor)


def test_a_dry_run_lists_and_removes_nothing(volume, caplog):
    caplog.set_level("INFO")
    result = prune(volume, keep_runs=4, dry_run=True)
    assert result["removed"] == ["a"]
    assert "would remove runs/a (204 bytes)" in caplog.messages
    assert left(volume) == list("abcde")


def test_data_and_model_are_never_touched(volume):
    prune(volume, keep_runs=1)
    assert [(volume / folder / "precious").read_text() for folder in ("data", "model", "history")] == ["keep me"] * 3


@pytest.mark.parametrize("where", ["runs/link", "runs/a/link", "runs/a/average/link"])
def test_no_link_is_followed(volume, where):
    (volume / where).symlink_to(volume / "data", target_is_directory=True)
    prune(volume, keep_runs=1)
    assert (volume / "data" / "precious").read_text() == "keep me"
    assert "e" in left(volume)


def test_a_link_in_place_of_the_folder_of_runs_is_refused(volume):
    (volume / "runs").rename(volume / "elsewhere")
    (volume / "runs").symlink_to(volume / "elsewhere")
    with pytest.raises(SetupError, match="follows no links"):
        prune(volume, keep_runs=1)
    assert len(list((volume / "elsewhere").iterdir())) == 5


def test_what_is_no_run_stays(volume):
    (volume / "runs" / "notes.txt").write_text("mine")
    (volume / "runs" / "backup").mkdir()
    (volume / "runs" / "backup" / "a.tar").write_text("mine")
    prune(volume, keep_runs=1)
    assert left(volume) == ["backup", "e", "notes.txt"]


def test_with_a_damaged_register_nothing_is_removed(volume):
    (volume / "model" / "registry.json").write_text('{"runs": [')
    with pytest.raises(DataError, match=r"registry.json cannot be read"):
        prune(volume, keep_runs=1)
    assert left(volume) == list("abcde")


def test_a_folder_that_cannot_be_removed_is_named_and_the_others_go(volume, monkeypatch, caplog):
    rename = type(volume).rename

    def refuse(path, target):
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(type(volume), "rename", refuse)
    with pytest.raises(SetupError, match="1 of 4 folders cannot be removed"):
        prune(volume, keep_runs=1)
    assert left(volume) == ["b", "e"]
    assert "runs/b cannot be removed" in caplog.text


@pytest.mark.parametrize(("warn_share", "is_filling"), [(1e-6, True), (1.0, False)])
def test_a_volume_that_fills_is_reported(volume, warn_share, is_filling):
    assert prune(volume, warn_share=warn_share)["is_filling"] is is_filling


def test_sixty_runs_and_kills_at_random_moments_leave_exactly_what_is_to_be_kept(tmp_path):
    for folder in ("model", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "precious").write_text("keep me")
    names = [f"run-{age_h:02}" for age_h in range(60)]
    for age_h, name in enumerate(names):
        add_run(tmp_path, name, age_h, n_files=40)
        (tmp_path / "runs" / name / "average" / "link").symlink_to(tmp_path / "data", target_is_directory=True)
    publish(tmp_path, "run-55", "run-30")
    in_use = files.lock(tmp_path / "runs" / "run-50" / "average")
    expected = [*names[:10], "run-30", "run-40", "run-50", "run-55"]
    removable = [name for name in names if name not in expected]
    command = [sys.executable, "-c", PRUNE, f"--volume={tmp_path}", "--keep=run-40"]
    moments, killed = random.Random(7), 0
    for _ in range(8 if IS_CI else 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        next(line for line in process.stderr if "removed runs/" in line)
        time.sleep(moments.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        killed += 1
        runs = [path for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]
        remaining = [name for name in removable if name in {path.name for path in runs}]
        assert {path.name for path in runs} == {*expected, *remaining}
        assert remaining == removable[: len(remaining)]  # the oldest go first
        for path in runs:  # no run is half removed
            assert len(list(path.glob("*/part-*.pkl"))) == 80
    ended = subprocess.run(command, capture_output=True, text=True)
    os.close(in_use)
    assert json.loads(ended.stdout)["n_kept"] == len(expected)
    assert left(tmp_path) == expected
    assert [(tmp_path / folder / "precious").read_text() for folder in ("model", "data")] == ["keep me", "keep me"]
    assert killed >= 3
