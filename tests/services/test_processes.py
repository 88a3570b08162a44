"""The stages as processes: exit codes, output, signals."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from services.contract.artifacts import CUSTOMERS, FEATURES
from services.pipeline import PIPELINE
from stagekit.volume.workspace import Workspace
from tests.chaos import processes
from tests.stagekit.manifests import commit

HEADER = "CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text(HEADER + "".join(f"C{i},{i % 5},{i % 3},{i}\n" for i in range(20)))
    return tmp_path


def start(stage: str, volume: Path, *arguments: str, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"services.{stage}", "--volume", str(volume), "--run", "demo", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def test_the_result_is_the_only_line_on_stdout_and_the_digest_the_last_on_stderr(volume):
    process = start("extract", volume)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["customers"] == 20
    assert len(out.splitlines()) == 1
    assert "manifest sha256:" in last_line(err)


@pytest.mark.parametrize(
    ("stage", "arguments", "code", "reason"),
    [
        ("extract", ["--data-file", "/etc/passwd"], 64, "inside the volume"),
        ("extract", ["--feature-columns", "AGE"], 65, "column 'AGE' is missing"),
        ("extract", ["--data-file", "data/none.csv"], 66, "no file data/none.csv"),
        ("train", [], 66, "run transform first"),
    ],
)
def test_wrong_input_ends_in_one_line_with_its_exit_code(volume, stage, arguments, code, reason):
    ended, log = processes.run(volume, stage, "--run=demo", *arguments)
    assert ended == code
    assert f"{stage}: failed ({code}, " in last_line(log)
    assert reason in last_line(log)
    assert "Traceback" not in log


def test_what_a_stage_writes_is_for_its_user_and_group_whatever_the_umask_of_the_caller(volume):
    start("extract", volume, umask=0).communicate(timeout=60)
    written = [volume / "runs", *(volume / "runs").rglob("*")]
    assert {path.name for path in written} >= {"customers.pkl", "manifest.json", ".lock"}
    for path in written:
        assert path.stat().st_mode & 0o777 == (0o770 if path.is_dir() else 0o660), path


def test_a_missing_volume_is_a_matter_of_setup(tmp_path):
    code, log = processes.run(tmp_path / "nowhere", "extract", "--run=demo")
    assert code == 78
    assert "there is no volume at" in last_line(log)


def test_a_defect_of_ours_shows_where_it_is(volume):
    with Workspace(PIPELINE, "extract", volume, "demo") as work:
        work.save(CUSTOMERS, "no table")
        commit(work)
    code, log = processes.run(volume, "transform", "--run=demo")
    assert code == 70
    assert "Traceback" in log
    assert "transform: failed (70, internal error): " in last_line(log)


def test_help_names_every_setting_and_needs_no_data_library(volume):
    script = (
        "import sys, stagekit.stage.run as s; from services.pipeline import PIPELINE; sys.argv[1:] = ['--help']\n"
        "try: s.run_stage(PIPELINE, 'train')\n"
        "except SystemExit as e: print(e.code, sorted({'numpy', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "--k-values" in ended.stdout
    assert last_line(ended.stdout) == "0 []"


def test_sigterm_ends_a_stage_at_once_even_inside_compiled_code(volume):
    with Workspace(PIPELINE, "transform", volume, "demo") as work:
        work.save(FEATURES, {"scaled": np.random.default_rng(0).random((50_000, 3))})
        commit(work)
    process = start("train", volume, "--k-values", "90", "--n-init", "1000", "--strategy", "exact")  # for minutes
    for line in process.stderr:
        if "fitting" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "SIGTERM" in last_line(err)
