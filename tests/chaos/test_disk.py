"""A volume that is full or read-only: the stage reports it, and existing files stay as they were."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from tests.chaos.processes import Stage, run
from tests.chaos.volumes import check_whole, digests, flags, run_pipeline, temporary_files, write_data

SIZE_MIB = 4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small separate file system with a successful run."""
    if os.getuid():
        pytest.skip("mounting a small file system needs root")
    volume = tmp_path_factory.mktemp("small") / "volume"
    volume.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(volume)]
    if (ended := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"this machine does not let us mount a small file system: {ended.stderr.strip()}")
    try:
        write_data(volume)
        run_pipeline(volume)
        yield volume
    finally:
        subprocess.run(["umount", str(volume)], check=True)


def fill(volume: Path, left: int) -> None:
    """Leave so many bytes free, in whole pages."""
    free = os.statvfs(volume).f_bavail * os.statvfs(volume).f_frsize
    with (volume / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - left, 1))


@pytest.mark.parametrize("stage", PIPELINE.stage_names)
def test_a_full_disk_is_a_transient_error_and_leaves_existing_files_unchanged(small, stage, tries, record):
    seed = random.Random(stage)
    assert run(small, stage, *flags(stage))[0] == 0  # the report shows when the stages before it ran
    expected, register = digests(small, stage), published(small)
    needed = sum((small / "runs/demo" / stage / name).stat().st_size for name in expected) * 2 + 16384
    n_tries, full = tries(2, 40), 0
    for attempt in range(n_tries):
        fill(small, 0 if attempt == 0 else seed.randrange(needed))
        code, log = run(small, stage, *flags(stage))
        assert code in (0, 75), log
        if code:
            full += 1
            assert "the volume is full" in log.splitlines()[-1]
            assert published(small) == register
        else:
            register = published(small)
        assert temporary_files(small) == []
        check_whole(small)
        assert digests(small, stage) == expected
        (small / "filler").unlink()
    assert run(small, stage, *flags(stage))[0] == 0
    assert full
    record("disk full", full, "75; existing files unchanged, no temporary file; the same result once there is space")


def published(volume: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (volume / "model").rglob("*") if path.is_file()}


def test_a_read_only_volume_is_reported_before_any_work(small, record):
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    try:
        for stage in PIPELINE.stage_names:
            for run_id in ("demo", "another"):
                process = Stage(small, stage, *flags(stage, run_id))
                assert process.wait() == 78
                (line,) = process.log().splitlines()
                assert "the volume is read-only" in line
                assert "mount it writable" in line
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    record("read-only volume", 2 * len(PIPELINE.stage_names), "78, before any work")
