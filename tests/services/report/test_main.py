import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from services.contract import artifacts
from services.contract.results import DESCRIPTION_COLUMNS, MIGRATION_COLUMNS, POINTS_COLUMNS, PROFILE_COLUMNS
from services.contract.settings import ReportSettings
from services.pipeline import PIPELINE
from services.report.main import main
from stagekit.errors import DataError, MissingInputError
from stagekit.volume.history import record_run
from stagekit.volume.manifest import FileRecord, Manifest
from stagekit.volume.workspace import Workspace
from tests.stagekit.manifests import commit


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


def run(volume):
    """Run the stage in this process; returns its result, the page and the manifest."""
    with Workspace(PIPELINE, "report", volume, "demo") as work:
        result = main(ReportSettings(run="demo"), work)
        commit(work)
    folder = volume / "runs/demo/report"
    return result, (folder / "report.html").read_text(), Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def run_without_data_libraries(volume):
    """Run the stage as a process, in which importing a data library is an error; returns its output and the page."""
    code = """
import runpy, sys
sys.modules.update(dict.fromkeys(("pandas", "scipy", "sklearn", "kneed", "airflow", "matplotlib.pyplot")))
runpy.run_module("services.report", run_name="__main__")
"""
    command = [sys.executable, "-c", code, f"--volume={volume}", "--run=demo"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), (volume / "runs/demo/report/report.html").read_text()


def test_the_stage_writes_one_page_from_json_and_csv_the_same_in_every_process_and_without_a_data_library(volume):
    result, page, manifest = run(volume)
    assert "2 segments among 11 customers" in page
    assert result == {"report": "report.html", "bytes": len(page.encode())}
    assert {record.name.rpartition(".")[2] for record in manifest.inputs} == {"json", "csv"}
    assert run_without_data_libraries(volume) == (result, page)


def test_the_report_has_the_history_up_to_its_run(volume, data):
    for entry in [
        *data.history,
        data.history[-1].model_copy(update={"run": "later", "started": datetime(2027, 1, 1, tzinfo=UTC)}),
    ]:
        record_run(volume, entry)
    _, page, _ = run(volume)
    assert '<desc id="sizes-desc">3 runs, from 9 Nov to 23 Nov: segment 1: 60% to 70%' in page


def test_a_run_of_an_earlier_version_has_a_report_that_names_the_stages_to_run(volume, without_charts):
    path = volume / "runs/demo/segment/manifest.json"
    manifest = Manifest.model_validate_json(path.read_bytes())
    outputs = tuple(record for record in manifest.outputs if record.name not in ("description.csv", "rules.json"))
    path.write_bytes(manifest.model_copy(update={"outputs": outputs}).to_checksummed_json())
    assert "run the stages segment and report again" in run(volume)[1]


def test_without_segments_the_error_names_the_stage_to_run(volume):
    (volume / "runs/demo/segment/manifest.json").unlink()
    with pytest.raises(MissingInputError, match="segment has not finished in run demo: run segment first"):
        run(volume)


def test_results_of_a_repeated_extract_are_not_combined_with_earlier_segments(volume):
    made_of = FileRecord(name="extract/customers.pkl", sha256="0" * 64, bytes=1, stage="extract")
    with Workspace(PIPELINE, "extract", volume, "demo") as work:
        like = work.manifest("extract")
        work.save(artifacts.CUSTOMERS, [1])
        work.commit(like.model_copy(update={"inputs": (), "outputs": tuple(work.outputs), "sha256": None}))
    with Workspace(PIPELINE, "transform", volume, "demo") as work:
        work.commit(work.manifest("transform").model_copy(update={"inputs": (made_of,), "sha256": None}))
    outdated = r"extract was run again after transform had read its customers\.pkl: run transform and"
    with pytest.raises(DataError, match=outdated):
        run(volume)


def test_a_changed_table_is_an_error(volume):
    with (volume / "runs/demo/segment/points.csv").open("a") as file:
        file.write("1,1,1,1\n")
    with pytest.raises(DataError, match=r"segment/points\.csv has sha256"):
        run(volume)
