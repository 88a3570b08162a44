import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from services.contract import artifacts
from services.contract.results import DESCRIPTION_COLUMNS, MIGRATION_COLUMNS, POINTS_COLUMNS, PROFILE_COLUMNS
from services.pipeline import PIPELINE
from stagekit.volume.history import record_run
from stagekit.volume.manifest import FileRecord, Manifest
from stagekit.volume.workspace import Workspace


def as_csv(columns, *rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()


@pytest.fixture
def volume(tmp_path, data):
    """A run in which every stage before the report has finished."""
    written = {
        artifacts.EVALUATION: data.evaluation.model_dump(mode="json"),
        artifacts.SEGMENTATION: data.segmentation.model_dump(mode="json"),
        artifacts.PROFILE: as_csv(
            PROFILE_COLUMNS,
            (1, "low balance", 7, 0.63, "BALANCE", 100, 120, 40, -0.4, 1),
            (4, "high balance", 3, 0.27, "BALANCE", 12345, 20000, 312.4, 1.9, 1),
        ),
        artifacts.MIGRATION: as_csv(MIGRATION_COLUMNS, (1, "low balance", 1, "low balance", 5), ("", "", 4, "high balance", 2)),
        artifacts.DESCRIPTION: as_csv(
            DESCRIPTION_COLUMNS,
            (1, "BALANCE", "", "yes", 7, 0, 100, 80, 150, "", -1.7, 1),
            (4, "BALANCE", "", "yes", 3, 0, 12345, 9000, 31000, "", 1.7, 1),
        ),
        artifacts.RULES: data.rules.model_dump(mode="json"),
        artifacts.POINTS: as_csv(POINTS_COLUMNS, (-1, 0, 1, 0.7), (30, 0.5, 4, -0.1)),
    }
    for stage in list(PIPELINE.stage_names)[: list(PIPELINE.stage_names).index("report")]:
        with Workspace(PIPELINE, stage, tmp_path, "demo") as work:
            for artifact, value in written.items():
                if artifact.stage == stage:
                    work.save(artifact, value)
            like = data.manifests.get(stage, data.manifests["segment"])
            read = tuple(record for record in like.inputs if record.stage is None)
            work.commit(like.model_copy(update={"stage": stage, "inputs": read, "outputs": tuple(work.outputs)}))
    return tmp_path


def run(volume, *code):
    command = [*code] if code else ["-m", "services.report", "--volume", str(volume), "--run", "demo"]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True)


def test_the_stage_writes_one_page_and_returns_its_size(volume):
    ended = run(volume)
    assert ended.returncode == 0, ended.stderr
    page = (volume / "runs/demo/report/report.html").read_bytes()
    assert b"2 segments among 11 customers" in page
    assert json.loads(ended.stdout) == {"report": "report.html", "bytes": len(page)}


def test_the_report_has_the_history_up_to_its_run(volume, data):
    for entry in [
        *data.history,
        data.history[-1].model_copy(update={"run": "later", "started": datetime(2027, 1, 1, tzinfo=UTC)}),
    ]:
        record_run(volume, entry)
    ended = run(volume)
    assert ended.returncode == 0, ended.stderr
    page = (volume / "runs/demo/report/report.html").read_text()
    assert '<desc id="sizes-desc">3 runs, from 9 Nov to 23 Nov: segment 1: 60% to 70%' in page


def test_a_run_of_an_earlier_version_has_a_report_that_names_the_stages_to_run(volume):
    path = volume / "runs/demo/segment/manifest.json"
    manifest = Manifest.model_validate_json(path.read_bytes())
    outputs = tuple(record for record in manifest.outputs if record.name not in ("description.csv", "rules.json"))
    path.write_bytes(manifest.model_copy(update={"outputs": outputs}).to_checksummed_json())
    ended = run(volume)
    assert ended.returncode == 0, ended.stderr
    assert "run the stages segment and report again" in (volume / "runs/demo/report/report.html").read_text()


def test_a_second_run_of_the_stage_writes_the_same_page(volume):
    pages = []
    for _ in range(2):
        assert run(volume).returncode == 0
        pages.append((volume / "runs/demo/report/report.html").read_bytes())
    assert pages[0] == pages[1]


def test_it_reads_json_and_csv_only(volume):
    assert run(volume).returncode == 0
    manifest = Manifest.model_validate_json((volume / "runs/demo/report/manifest.json").read_bytes())
    assert {record.name.rpartition(".")[2] for record in manifest.inputs} == {"json", "csv"}


def test_it_needs_no_data_library(volume):
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("pandas", "scipy", "sklearn", "kneed", "airflow", "matplotlib.pyplot")))
from pathlib import Path
from stagekit.volume.workspace import Workspace
from services.pipeline import PIPELINE
from services.report.main import main
with Workspace(PIPELINE, "report", Path({str(volume)!r}), "demo") as work:
    main(None, work)
"""
    ended = run(volume, "-c", code)
    assert ended.returncode == 0, ended.stderr


def test_without_segments_the_error_names_the_stage_to_run(volume):
    (volume / "runs/demo/segment/manifest.json").unlink()
    ended = run(volume)
    assert ended.returncode == 66
    assert "segment has not finished in run demo: run segment first" in ended.stderr


def test_results_of_a_repeated_extract_are_not_combined_with_earlier_segments(volume):
    made_of = FileRecord(name="extract/customers.pkl", sha256="0" * 64, bytes=1, stage="extract")
    with Workspace(PIPELINE, "extract", volume, "demo") as work:
        like = work.manifest("extract")
        work.save(artifacts.CUSTOMERS, [1])
        work.commit(like.model_copy(update={"inputs": (), "outputs": tuple(work.outputs), "sha256": None}))
    with Workspace(PIPELINE, "transform", volume, "demo") as work:
        work.commit(work.manifest("transform").model_copy(update={"inputs": (made_of,), "sha256": None}))
    ended = run(volume)
    assert ended.returncode == 65
    assert "extract was run again after transform had read its customers.pkl: run transform and" in ended.stderr


def test_a_changed_table_is_an_error(volume):
    with (volume / "runs/demo/segment/points.csv").open("a") as file:
        file.write("1,1,1,1\n")
    ended = run(volume)
    assert ended.returncode == 65
    assert "segment/points.csv has sha256" in ended.stderr
