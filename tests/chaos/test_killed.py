"""SIGKILL at random moments of a stage's life, half of them while it writes."""

import random
import shutil
import signal
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.manifest import MANIFEST_NAME
from tests.chaos.processes import Stage, run
from tests.chaos.volumes import RUN, check_whole, digests, flags, temporary_files


@pytest.mark.parametrize("stage", PIPELINE.stage_names)
def test_a_killed_stage_leaves_no_partial_artifact_and_its_retry_writes_the_same(volume, stage, tries, record):
    expected = digests(volume, stage)
    life, writing = measure(volume, stage, tries(1, 3))
    seed = random.Random(f"{stage} 7")
    n_tries = tries(4, 200)
    moments = Counter()
    for attempt in range(n_tries):
        if attempt % 3 == 0:  # as if it had never run
            shutil.rmtree(volume / "runs" / RUN / stage)
        before = read_manifest(volume, stage)
        process = Stage(volume, stage, *flags(stage))
        if attempt % 2:
            await_first_write(process, volume)
            if attempt % 4 == 3:  # the rest at once: where the machine is busy, a later moment may be too late
                time.sleep(seed.uniform(0, writing))
        else:
            time.sleep(seed.uniform(0, life))
        process.signal(signal.SIGKILL)
        process.wait()
        assert not process.has_left_processes()
        moments[moment(volume, stage, before)] += 1
        check_whole(volume)
        code, log = run(volume, stage, *flags(stage))
        assert code == 0, log
        assert digests(volume, stage) == expected
        assert temporary_files(volume) == []
    assert moments["while it wrote"] + moments["while it published"] >= n_tries / 10, moments
    record(
        f"SIGKILL in {stage}: " + ", ".join(f"{count} {name}" for name, count in sorted(moments.items())),
        n_tries,
        "0 unreadable files, 0 manifests without their artifacts; every retry: the same sha256, 0 temporary files",
    )


def measure(volume: Path, stage: str, n_runs: int) -> tuple[float, float]:
    """Seconds from the start of a stage to its end, and from its first write to its end."""
    times = []
    for _ in range(n_runs):
        begin = time.monotonic()
        process = Stage(volume, stage, *flags(stage))
        await_first_write(process, volume)
        writes = time.monotonic()
        assert process.wait() == 0, process.log()
        end = time.monotonic()
        times.append((end - begin, end - writes))
    return statistics.median(life for life, _ in times), statistics.median(writing for _, writing in times)


def await_first_write(process: Stage, volume: Path) -> None:
    while process.is_alive() and not temporary_files(volume):
        time.sleep(0.0005)


def read_manifest(volume: Path, stage: str) -> bytes | None:
    path = volume / "runs" / RUN / stage / MANIFEST_NAME
    return path.read_bytes() if path.exists() else None


def moment(volume: Path, stage: str, before: bytes | None) -> str:
    """Classify how far a killed stage had come, by the files that it left."""
    left = temporary_files(volume)
    if any(path.is_relative_to(volume / "model") for path in left):
        return "while it published"
    if left or (before and not read_manifest(volume, stage)):
        return "while it wrote"
    return "before" if read_manifest(volume, stage) == before else "after its manifest"
