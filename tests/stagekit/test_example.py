"""The second pipeline, run by the kit as a user's own pipeline would be."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stagekit.settings import ENVIRONMENT_PREFIX
from tests.stagekit.example.services.pipeline import PIPELINE

EXAMPLE = Path(__file__).parent / "example"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of the second pipeline: its services, the kit, and a volume with its data."""
    shutil.copytree(EXAMPLE / "services", tmp_path / "services")
    shutil.copytree(EXAMPLE / "data", tmp_path / "shared_volume/data")
    (tmp_path / "stagekit").symlink_to(REPOSITORY / "stagekit")
    return tmp_path


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)} | variables
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_the_local_runner_runs_all_stages_and_prints_the_summary(project):
    ended = run(project, "services", "--run", "demo")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"harbour": 12.0, "hill": 7.0}
    assert json.loads((project / "shared_volume/model/means.json").read_text()) == {"harbour": 12.0, "hill": 7.0}


def test_a_setting_is_a_flag_and_an_environment_variable(project):
    run(project, "services", "--run", "demo")
    by_flag = run(project, "services.average", "--run", "demo", "--unit", "fahrenheit")
    means = json.loads((project / "shared_volume/runs/demo/average/means.json").read_text())
    assert (json.loads(by_flag.stdout), means["hill"]) == ({"stations": 2}, pytest.approx(44.6))
    run(project, "services.average", "--run", "demo", **{f"{ENVIRONMENT_PREFIX}UNIT": "celsius"})
    manifest = json.loads((project / "shared_volume/runs/demo/average/manifest.json").read_text())
    assert (manifest["settings"]["unit"], manifest["setting_sources"]["unit"]) == ("celsius", "environment")


def test_invalid_data_ends_with_65_and_names_file_row_and_value(project):
    (project / "shared_volume/data/readings.csv").write_text("station,celsius\nharbour,cold\n")
    ended = run(project, "services", "--run", "demo")
    assert ended.returncode == 65
    assert "data/readings.csv row 2: celsius is 'cold', expected a number" in ended.stderr


def test_a_stage_whose_input_is_missing_ends_with_66_and_names_the_stage_to_run(project):
    ended = run(project, "services.average", "--run", "demo")
    assert (ended.returncode, "run read first" in ended.stderr) == (66, True)


def test_an_undeclared_artifact_is_an_internal_error(project):
    pipeline = project / "services/pipeline.py"
    pipeline.write_text(pipeline.read_text().replace("reads=(READINGS,), ", ""))
    ended = run(project, "services", "--run", "demo")
    assert ended.returncode == 70
    assert "average accesses read/readings.json, but declares that it reads nothing" in ended.stderr


def test_the_example_is_small_enough_to_be_read_in_a_minute():
    lines = [line for path in EXAMPLE.rglob("*.py") for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 120
    assert PIPELINE.identifier == "temperatures"
