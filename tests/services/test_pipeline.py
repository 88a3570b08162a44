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

from services.contract.pickles import ALLOWED
from services.contract.settings import SETTINGS

DATA = Path(__file__).parents[2] / "shared_volume/data"


def run(volume: Path, *arguments: str, run: str = "demo") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services", "--volume", str(volume), "--run", run, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def read(volume: Path, artifact: str, run: str = "demo") -> Any:
    return json.loads((volume / "runs" / run / artifact).read_text())


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tuple[Path, str]:
    """The volume of a run with the defaults and one with every kind of preparation, and what the first one said."""
    volume = tmp_path_factory.mktemp("volume")
    shutil.copytree(DATA, volume / "data")
    plain = run(volume)
    assert plain.returncode == 0, plain.stderr
    prepared = run(
        volume,
        "--log-columns=BALANCE",
        "--outliers=clip",
        "--scale-by=TENURE",
        "--k-values=2,3,4",
        "--resamples=2",
        "--publish-anyway",
        run="prepared",
    )
    assert prepared.returncode == 0, prepared.stderr
    return volume, plain.stdout


def test_a_run_ends_by_naming_k_and_why_the_segments_with_sizes_and_the_report(sample):
    volume, said = sample
    assert "5 segments: k = 5 is the elbow" in said
    assert re.search(r"^ +5,\d{3} +56\.0%  1: \w+", said, re.MULTILINE)
    assert f"The report: {volume}/runs/demo/report/report.html" in said
    assert (volume / "runs/demo/report/report.html").is_file()


def test_a_table_in_parts_comes_to_the_same_segments_and_scores(sample):
    volume, _ = sample
    for name, part_rows in (("first", 3000), ("parts", 1000)):
        ended = run(volume, f"--part-rows={part_rows}", "--k-values=3,4,5", "--resamples=2", "--publish-anyway", run=name)
        assert ended.returncode == 0, ended.stderr
    ended = run(volume, "--k-values=3,4,5", "--resamples=2", "--publish-anyway", run="whole")
    assert ended.returncode == 0, ended.stderr
    parts = sorted((volume / "runs/parts/segment/segments").iterdir())
    assert len(parts) == len(list((volume / "runs/parts/extract/customers").iterdir())) >= 8
    assert not (volume / "runs/parts/segment/segments.csv").exists()
    texts = [part.read_text() for part in parts]
    header = texts[0].partition("\n")[0]
    rows = [line for text in texts for line in text.removeprefix(header + "\n").splitlines()]
    whole = (volume / "runs/whole/segment/segments.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [row.split(",")[:2] for row in whole]
    assert read(volume, "train/metrics.json", run="parts")["sse"] == pytest.approx(
        read(volume, "train/metrics.json", run="whole")["sse"], rel=1e-9
    )
    assert read(volume, "segment/segmentation.json", run="whole")["comparison"]["same_segment"] == len(whole)


def test_every_stage_leaves_a_manifest_with_the_settings_that_differ(sample):
    volume, _ = sample
    for stage in SETTINGS:
        assert read(volume, f"{stage}/manifest.json")["exit_reason"] == "done"
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
    assert named == ALLOWED


def test_the_pipeline_stops_at_the_first_stage_that_fails_with_its_exit_code(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text("CUST_ID,BALANCE\nA,1\n")
    ended = run(tmp_path)
    assert ended.returncode == 65
    assert "column 'PURCHASES' is missing" in ended.stderr.splitlines()[-1]


def test_a_wrong_setting_ends_the_pipeline_before_any_stage(tmp_path):
    ended = run(tmp_path, "--k-values=1")
    assert (ended.returncode, ended.stdout) == (64, "")
    assert ended.stderr.startswith("failed (64, unusable settings): --k-values")
    assert not (tmp_path / "runs").exists()


def test_the_figures_on_the_lab_s_data_are_those_of_the_lab(lab_data, tmp_path):
    shutil.copytree(lab_data, tmp_path / "data")
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stderr
    figures = dict(re.findall(r"^\| (\d+) \| ([\d.]+) \|$", (lab_data.parent / "README.md").read_text(), re.MULTILINE))
    metrics = read(tmp_path, "train/metrics.json")
    assert metrics["k_values"] == [int(k) for k in figures]
    assert metrics["sse"] == pytest.approx([float(sse) for sse in figures.values()], rel=1e-9)
    assert read(tmp_path, "evaluate/evaluation.json")["elbow"] == 5
    assert read(tmp_path, "evaluate/manifest.json")["result"] == 6
