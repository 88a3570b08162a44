"""A volume that commit 9e81e5d wrote, with the former layout of the registry: its runs and publications stay usable."""

import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.model_store import ModelStore
from tests.chaos import processes


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).with_name("former_volume.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_published_segments_are_active_and_new_customers_can_be_scored(volume):
    registry = json.loads((volume / "model/segments.json").read_text())
    assert (registry["schema_version"], registry["in_force"]) == (1, "former")
    assert ModelStore(volume, PIPELINE).read_registry().active_run == "former"
    command = [sys.executable, "-m", "services.segment", "--score=data/test.csv"]
    environment = os.environ | {"SEGMENTATION_VOLUME": str(volume)}
    scored = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert scored.returncode == 0, scored.stderr
    assert "WARNING: SEGMENTATION_VOLUME: rename to PIPELINE_..." in scored.stderr
    assert json.loads(scored.stdout)["rows"] == 1


def test_a_stage_can_be_run_again_in_a_former_run_and_keeps_the_segment_ids(volume):
    written = json.loads((volume / "runs/former/extract/manifest.json").read_text())["versions"]
    if any(written[library] != version(library) for library in ("pandas", "scikit-learn")):
        pytest.skip("its pickles were written with other versions of pandas or scikit-learn, so that stages refuse them")
    before = json.loads((volume / "model/segments.json").read_text())
    for stage in ("report", "segment", "report"):
        code, log = processes.run(volume, stage, "--run=former")
        assert code == 0, log
    after = json.loads((volume / "model/segments.json").read_text())
    assert (after["schema_version"], after["active_run"], after["publications"]) == (2, "former", 2)
    assert [one["segment_id"] for one in after["segments"]] == [one["segment_id"] for one in before["segments"]] == [1, 2, 3]
