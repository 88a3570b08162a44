"""The whole pipeline as local processes, as `make run` starts it."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.contract.artifacts import PICKLE
from services.contract.settings import PipelineSettings
from services.pipeline import PIPELINE
from stagekit.stage.command_line import parse
from stagekit.stage.local import to_flags
from tests.chaos import processes

DATA = Path(__file__).parents[2] / "shared_volume/data"


def run(volume: Path, *arguments: str, run: str = "demo") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services", "--volume", str(volume), "--run", run, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def run_stages(volume: Path, *arguments: str, run: str = "demo", until: str = "report") -> None:
    """Run the stages with these settings, faster than a process for each: see `processes`."""
    settings = parse(PipelineSettings, [f"--run={run}", *arguments], prog="test")
    for name in PIPELINE.stage_names[: PIPELINE.stage_names.index(until) + 1]:
        code, log = processes.run(volume, name, *to_flags(PIPELINE[name], settings))
        assert code == 0, log


def read(volume: Path, artifact: str, run: str = "demo") -> Any:
    return json.loads((volume / "runs" / run / artifact).read_text())


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tuple[Path, str]:
    """Run a part of the sample data with the lab's settings and with every preparation; return volume and first output."""
    volume = tmp_path_factory.mktemp("volume")
    shutil.copytree(DATA, volume / "data")
    (volume / "data/file.csv").write_text("".join((DATA / "file.csv").read_text().splitlines(keepends=True)[:2000]))
    plain = run(volume, "--n-resamples=2")
    assert plain.returncode == 0, plain.stderr
    run_stages(
        volume,
        "--log-columns=BALANCE",
        "--outliers=clip",
        "--group-column=TENURE",
        "--k-values=2,3,4",
        "--n-resamples=2",
        "--publish=always",
        run="prepared",
    )
    return volume, plain.stdout


def test_a_run_ends_by_naming_k_and_why_the_segments_with_sizes_and_the_report(sample):
    volume, output = sample
    assert "5 segments: With more than 5 segments" in output
    assert re.search(r"^ +1,\d{3} +5\d\.\d%  1: \w+", output, re.MULTILINE)
    assert f"The report: {volume}/runs/demo/report/report.html" in output
    assert (volume / "runs/demo/report/report.html").is_file()


def test_every_stage_leaves_a_manifest_with_the_settings_that_differ(sample):
    volume, _ = sample
    for stage in PIPELINE.stage_names:
        assert read(volume, f"{stage}/manifest.json")["exit_reason"] == "success"
    assert read(volume, "transform/manifest.json", run="prepared")["settings"]["log_columns"] == ["BALANCE"]
    assert read(volume, "transform/manifest.json", run="prepared")["setting_sources"]["log_columns"] == "flag"
    assert read(volume, "train/manifest.json")["setting_sources"]["k_values"] == "default"


def test_a_pickle_may_name_what_the_pipeline_writes_and_nothing_else(sample):
    volume, _ = sample
    named = set()

    class Listening(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            named.add((module, name))
            return super().find_class(module, name)

    for path in [*volume.glob("runs/*/*/*.pkl"), *volume.glob("runs/*/*/*.sav")]:
        with path.open("rb") as file:
            Listening(file).load()
    assert named == PICKLE.allowed


def test_the_pipeline_stops_at_the_first_stage_that_fails_with_its_exit_code(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text("CUST_ID,BALANCE\nA,1\n")
    ended = run(tmp_path)
    assert ended.returncode == 65
    assert "column 'PURCHASES' is missing" in ended.stderr.splitlines()[-1]


def test_a_wrong_setting_ends_the_pipeline_before_any_stage(tmp_path):
    ended = run(tmp_path, "--k-values=1")
    assert (ended.returncode, ended.stdout) == (64, "")
    assert ended.stderr.startswith("failed (64, invalid settings): --k-values")
    assert not (tmp_path / "runs").exists()


def test_a_flag_goes_before_the_environment_in_every_stage(monkeypatch):
    monkeypatch.setenv("PIPELINE_K_VALUES", "2,3")
    settings = parse(PipelineSettings, ["--run=demo", "--k-values=2,3,4,5,6,7,8,9,10", "--n-clusters=9"], prog="test")
    assert "--k-values=2,3,4,5,6,7,8,9,10" in to_flags(PIPELINE["train"], settings)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_run_that_fails_after_its_training_has_published_nothing(sample):
    volume, _ = sample
    before = snapshot(volume / "model")
    assert processes.run(volume, "train", "--run=prepared", "--k-values=2,3")[0] == 0
    assert processes.run(volume, "evaluate", "--run=prepared", "--n-clusters=9")[0] == 64
    assert read(volume, "train/metrics.json", run="prepared")["k_values"] == [2, 3]
    assert snapshot(volume / "model") == before


@pytest.mark.slow
def test_an_experimental_run_computes_and_reports_everything_and_leaves_the_model_folder_as_it_was(sample):
    volume, _ = sample
    before = snapshot(volume / "model")
    assert {"kmeans_custom.sav", "segments.json"} <= set(before)
    ended = run(volume, "--publish=never", "--k-values=3,4", "--random-state=1", "--n-resamples=2", run="trial")
    assert ended.returncode == 0, ended.stderr
    assert "Experimental run (publish=never): nothing was published." in ended.stdout
    assert snapshot(volume / "model") == before
    for artifact in ("train/kmeans_custom.sav", "segment/segments.csv", "report/report.html"):
        assert (volume / "runs/trial" / artifact).is_file()
    assert "experimental" in (volume / "runs/trial/report/report.html").read_text()
    result = read(volume, "segment/manifest.json", run="trial")["result"]
    assert (result["published"], result["experimental"]) == (False, True)


def test_the_figures_on_the_lab_s_data_are_those_of_the_lab(lab_data, tmp_path):
    shutil.copytree(lab_data, tmp_path / "data")
    run_stages(tmp_path, "--n-resamples=2", until="evaluate")
    figures = dict(re.findall(r"^\| (\d+) \| ([\d.]+) \|$", (lab_data.parent / "README.md").read_text(), re.MULTILINE))
    metrics = read(tmp_path, "train/metrics.json")
    assert metrics["k_values"] == [int(k) for k in figures]
    assert metrics["sse"] == pytest.approx([float(sse) for sse in figures.values()], rel=1e-9)
    evaluation = read(tmp_path, "evaluate/evaluation.json")
    assert evaluation["elbow"] == 5
    assert evaluation["new_customers"][0]["outside_training_range"] == ["CREDIT_LIMIT"]
    assert read(tmp_path, "evaluate/manifest.json")["result"] == 6
