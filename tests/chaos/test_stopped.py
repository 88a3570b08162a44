"""SIGTERM at random moments of a stage's life, however deep it is in compiled code."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from tests.chaos.processes import Stage, run
from tests.chaos.volumes import RUN, check_whole, digests, flags, temporary_files


@pytest.mark.parametrize("stage", PIPELINE.stage_names)
def test_a_stage_that_receives_sigterm_ends_at_once_with_75(volume, stage, tries, record):
    expected = digests(volume, stage)
    begin = time.monotonic()
    assert run(volume, stage, *flags(stage))[0] == 0
    life = time.monotonic() - begin
    seed, n_tries, slowest, done = random.Random(stage), tries(2, 50), 0.0, 0
    for attempt in range(n_tries):
        if attempt % 2:
            shutil.rmtree(volume / "runs" / RUN / stage)
        process = Stage(volume, stage, *flags(stage))
        await_readiness(process)
        time.sleep(seed.uniform(0, life))
        begin = time.monotonic()
        process.signal(signal.SIGTERM)
        code = process.wait()
        if code == 0:  # it was done
            done += 1
        else:
            slowest = max(slowest, time.monotonic() - begin)
            assert code == 75, process.log()
            assert "terminated by SIGTERM; run the stage again" in process.log().splitlines()[-1]
        assert not process.has_left_processes()
        check_whole(volume)
        code, log = run(volume, stage, *flags(stage))
        assert code == 0, log
        assert digests(volume, stage) == expected
        assert temporary_files(volume) == []
    record(f"SIGTERM in {stage}", n_tries - done, f"75, after at most {slowest:.2f} s")


def await_readiness(process: Stage) -> None:
    """Wait until a stage listens to SIGTERM: before that, while Python starts, the signal ends it as any other process."""
    status = Path(f"/proc/{process.pid}/status")
    while process.is_alive():
        blocked = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigBlk"))
        if int(blocked, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.0005)
