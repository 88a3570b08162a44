"""Several containers of one stage of one run, and several runs that publish, at once."""

import os
import shutil
import subprocess
from collections import Counter

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.model_store import ModelStore
from tests.chaos.processes import Stage, run
from tests.chaos.volumes import check_whole, digests, flags, run_pipeline, temporary_files
from tests.docker.commands import TAG


@pytest.mark.needs_docker
def test_of_two_containers_of_one_stage_of_one_run_one_works_at_a_time(images, volume, tries, record):
    command = ["docker", "run", "--rm", f"--user={os.getuid()}:{os.getgid()}", f"--volume={volume}:/shared"]
    command += [f"customer-segmentation/train:{TAG}", *flags("train"), "--n-init=500"]  # long enough to meet
    subprocess.run(command, check=True, capture_output=True)
    expected = digests(volume, "train")
    codes = Counter()
    n_tries = tries(2, 20)
    for _ in range(n_tries):
        containers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for container in containers:
            _, log = container.communicate()
            codes[container.returncode] += 1
            assert not container.returncode or "in use by another process: wait until it ends" in log.splitlines()[-1]
        check_whole(volume)
        assert digests(volume, "train") == expected
        assert temporary_files(volume) == []
    assert set(codes) <= {0, 75}
    assert codes[0] >= n_tries
    assert codes[75]
    record("two containers of one stage of one run", n_tries, "one runs, the other ends with 75 or runs later; the same sha256")


def test_runs_that_publish_at_once_do_so_one_by_one_and_who_scores_meanwhile_sees_one_whole_run(volume, tries, record):
    runs = ("demo", "scheduled", "by-hand")
    for run_id in runs[1:]:
        run_pipeline(volume, run_id, until="evaluate")
    shutil.copy(volume / "data/file.csv", volume / "data/new.csv")
    codes, active = Counter(), Counter()
    n_tries = tries(2, 30)
    for number in range(n_tries):
        publishing = [Stage(volume, "segment", *flags("segment", run_id)) for run_id in runs]
        scoring = Stage(volume, "segment", "--score=data/new.csv", f"--run=score{number}")
        ended = [(process.wait(), process.log()) for process in (*publishing, scoring)]
        assert {code for code, _ in ended} <= {0, 75}, ended
        assert any(code == 0 for code, _ in ended[:-1])
        codes.update(code for code, _ in ended[:-1])
        check_whole(volume)
        active[ModelStore(volume, PIPELINE).read_registry().active_run] += 1
        assert temporary_files(volume) == []
    for run_id in runs:
        assert run(volume, "segment", *flags("segment", run_id))[0] == 0
    register = ModelStore(volume, PIPELINE).read_registry()
    assert len({known.segment_id for known in register.segments}) == len(register.segments)
    record(
        "three runs publish at once, a fourth process scores",
        n_tries,
        f"{codes[0]} published, {codes[75]} ended with 75; always one complete active run, no id assigned twice",
    )
