"""What people put in: tables of every kind, paths that lead out of the volume, stages out of their order, other versions."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.contract import artifacts
from services.pipeline import PIPELINE
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder
from stagekit.volume.upstream import UpstreamResults
from tests.chaos.processes import run
from tests.chaos.volumes import RUN, flags, read_manifest
from tests.services.bad_tables import HEADER, TABLES, WRONG_FILES, Table, wrong

READERS = {
    "customer table": lambda path: ("extract", "--run=bad", f"--data-file={path}"),
    "test file": lambda path: ("evaluate", *flags("evaluate"), f"--test-file={path}"),
    "file to be scored": lambda path: ("segment", f"--score={path}", "--run=bad"),
}
PATHS = {**READERS, "names file": lambda path: ("segment", *flags("segment"), f"--names-file={path}")}

# Tables that can be read and not be grouped, by the stage that finds out.
UNFIT = {
    "transform": (
        wrong(
            "all of a column missing",
            HEADER + "".join(f"C{n},{n},,{n}\n" for n in range(9)),
            "no customer has a value for each",
        ),
        wrong("no row with every value", HEADER + "A,,1,1\nB,1,,1\nC,1,1,\n" * 3, "no customer has a value for each"),
        wrong(
            "a constant column",
            HEADER + "".join(f"C{n},{n},7,{n}\n" for n in range(9)),
            "PURCHASES is 7 for all 9 customers: leave it out of feature_columns",
        ),
        wrong("a single customer", HEADER + "A,1,2,3\n", "BALANCE is 1 for all 1 customers"),
    ),
    "train": (
        wrong("fewer rows than k", HEADER + "A,1,2,3\nB,4,5,6\nC,7,9,8\n", "3 distinct rows, k = 4 needs as many or more"),
        wrong(
            "fewer distinct rows than k",
            HEADER + "".join(f"C{n},{n % 3},{n % 3},{n % 3}\n" for n in range(90)),
            "3 distinct rows, k = 4 needs as many or more",
        ),
    ),
}


def assert_refused(log: str, code: int, expected: int, complaint: str) -> None:
    """Check that a stage ended with the code and, in its last line, the reason; never with a traceback."""
    assert code == expected, log
    assert "Traceback" not in log
    assert re.search(rf": failed \({expected}, .*{complaint}", log.splitlines()[-1]), log


def ids_read(volume: Path, reader: str) -> list[str]:
    """The ids of the customers that a reader has found, from what its stage has written."""
    if reader == "customer table":
        return list(UpstreamResults(volume, "bad", {}).load(artifacts.CUSTOMERS)["CUST_ID"])
    if reader == "test file":
        return [customer["customer"] for customer in read_evaluation(volume)["new_customers"]]
    with (volume / "scores/bad/segments.csv").open(newline="", encoding="utf-8") as file:
        return [row["CUST_ID"] for row in csv.DictReader(file)]


def read_evaluation(volume: Path) -> dict[str, Any]:
    return json.loads((volume / "runs" / RUN / "evaluate/evaluation.json").read_text())


def some(tables: tuple[Table, ...], tries) -> tuple[Table, ...]:
    return tables[:: tries(9, 1)]


@pytest.mark.parametrize("reader", READERS)
def test_a_wrong_table_ends_in_65_and_names_what_is_wrong(volume, reader, tries, record):
    tables = some(tuple(table for table in TABLES if table.complaint), tries)
    for table in tables:
        (volume / "data/bad.csv").write_bytes(table.content)
        code, log = run(volume, *READERS[reader]("data/bad.csv"))
        if reader == "test file" and table not in WRONG_FILES and "row 1:" not in table.complaint:  # its header is right
            assert code == 0, log
            reason = read_evaluation(volume)["new_customers"][-1]["reason"]
            assert re.match(rf"bad\.csv.*{table.complaint}", reason), reason
        else:
            assert_refused(log, code, 65, rf"bad\.csv.*{table.complaint}")
    outcome = "65, or for a row no label" if reader == "test file" else "65"
    record(f"wrong {reader}", len(tables), f"{outcome}, with file, row, column and value if there is one")


@pytest.mark.parametrize("reader", READERS)
def test_an_odd_table_is_read(volume, reader, tries, record):
    tables = some(tuple(table for table in TABLES if not table.complaint), tries)
    for table in tables:
        (volume / "data/odd.csv").write_bytes(table.content)
        code, log = run(volume, *READERS[reader]("data/odd.csv"))
        assert code == 0, log
        assert ids_read(volume, reader) == [row[0] for row in table.rows], table.name
    record(f"odd {reader}", len(tables), "read right")


@pytest.mark.parametrize(("stage", "table"), [(stage, table) for stage in UNFIT for table in UNFIT[stage]])
def test_a_table_that_cannot_be_grouped_ends_in_65_in_the_stage_that_finds_out(volume, stage, table, record):
    (volume / "data/file.csv").write_bytes(table.content)
    for earlier in PIPELINE.stage_names:
        code, log = run(volume, earlier, *flags(earlier))
        if earlier == stage:
            break
        assert code == 0, log
    assert_refused(log, code, 65, table.complaint)
    record("customer table that cannot be grouped", 1, "65, in the stage that finds out")


@pytest.mark.parametrize("setting", PATHS)
def test_a_path_that_is_no_file_of_the_volume_is_refused(volume, tmp_path, setting, record):
    (tmp_path / "secret.csv").write_text("segment_id,name\n1,secret\n")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "secret.csv", tmp_path / "folder")
    links = {
        "link.csv": tmp_path / "secret.csv",
        "relative.csv": "../../secret.csv",
        "folder": tmp_path / "folder",
        "none.csv": "nowhere",
    }
    for name, target in links.items():
        (volume / "data" / name).symlink_to(target)
    outside = dict.fromkeys(("data/link.csv", "data/relative.csv", "data/folder/secret.csv"), (65, "leads out of the volume"))
    malformed = [
        str(tmp_path / "secret.csv"),
        "../secret.csv",
        "data/../../secret.csv",
        "data/./../../secret.csv",
        "..",
        ".",
        "/",
        "data//x",
    ]
    expected = {**outside, "data": (65, "is not a file"), **dict.fromkeys(malformed, (64, "must be a path inside the volume"))}
    expected["data/" + "x" * 300] = (64, "must consist of names of at most 255 bytes")
    if setting in ("customer table", "file to be scored"):  # a folder is the table of all its files
        expected["data"] = (65, "leads out of the volume")
    if setting != "names file":  # it need not be there
        expected["data/none.csv"] = (66, "there is no file data/none.csv on the volume")
    for path, (code, complaint) in expected.items():
        ended, log = run(volume, *PATHS[setting](path))
        assert_refused(log, ended, code, complaint)
        assert "secret\n" not in log
    record("path that leads out of the volume, or to no file", len(expected), "64, 65 or 66; nothing outside is read")


def test_a_run_id_cannot_lead_out_of_the_volume(volume, tmp_path, tries, record):
    runs = ["../../out", "..", "/tmp/out", "runs/../../../out", "~", "a\nb", "con", "%2e%2e%2fout", "x" * 250, "../" * 80]
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(volume) and path.suffix != ".log"}
    for run_id in runs[:: tries(3, 1)]:
        code, log = run(volume, "extract", f"--run={run_id}")
        assert code == 0, log
        assert (volume / "runs" / run_folder(run_id) / "extract" / MANIFEST_NAME).is_file()
        assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(volume) and path.suffix != ".log"} == before
    record("run id that leads out of the volume", len(runs[:: tries(3, 1)]), "a separate folder inside runs/")


@pytest.mark.parametrize("stage", [stage for stage in PIPELINE.stage_names if stage != "extract"])
def test_a_stage_whose_predecessor_never_ran_names_the_stage_to_run(volume, stage, record):
    inputs = [record.name.partition("/")[0] for record in read_manifest(volume, stage).inputs]
    missing = next(name for name in inputs if name in PIPELINE.stage_names)
    shutil.rmtree(volume / "runs" / RUN / missing)
    code, log = run(volume, stage, *flags(stage))
    assert_refused(log, code, 66, f"{missing} has not finished in run {RUN}: run {missing} first")
    record("upstream stage that never ran", 1, "66, with the stage to run first")


@pytest.mark.parametrize(
    ("stage", "flag", "reader"),
    [
        ("extract", "--data-file=data/other.csv", "transform"),
        ("transform", "--outliers=clip", "train"),
        ("train", "--n-init=3", "evaluate"),
    ],
)
def test_no_stage_mixes_what_was_made_before_an_earlier_one_was_run_again_with_what_was_made_after(
    volume, stage, flag, reader, record
):
    table = (volume / "data/file.csv").read_text().splitlines(keepends=True)
    (volume / "data/other.csv").write_text("".join(table[:-1]))
    code, log = run(volume, stage, *flags(stage), flag)
    assert code == 0, log
    later = list(PIPELINE.stage_names)[list(PIPELINE.stage_names).index(reader) + 1 :]
    for other in later:
        code, log = run(volume, other, *flags(other))
        assert_refused(
            log, code, 65, f"{stage} was run again after {reader} had read its .*: run {reader} and the stages after"
        )
    for other in (reader, *later):
        code, log = run(volume, other, *flags(other))
        assert code == 0, log
    record("stage run after an earlier one was run again with another result", len(later), "65, with the stage to run from")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"versions": {"scikit-learn": "1.2.3"}}, r"written with scikit-learn 1\.2\.3, installed is .*: run train again"),
        ({"versions": {"pandas": "1.2.3"}}, r"written with pandas 1\.2\.3, installed is .*: run train again"),
        ({"schema_version": 2}, "schema_version: .* run train again"),
    ],
)
def test_artifacts_of_another_version_are_refused_with_the_remedy(volume, change, complaint, record):
    path = volume / "runs" / RUN / "train" / MANIFEST_NAME
    path.write_bytes(read_manifest(volume, "train").model_copy(update=change).to_checksummed_json())
    code, log = run(volume, "evaluate", *flags("evaluate"))
    assert_refused(log, code, 65, complaint)
    record("artifacts of another version", 1, "65, with the stage to run again")


def test_a_run_that_fails_after_its_training_has_published_nothing(volume):
    before = {path: path.read_bytes() for path in (volume / "model").rglob("*") if path.is_file()}
    assert volume / "model/kmeans_custom.sav" in before
    for stage in ("extract", "transform"):
        assert run(volume, stage, "--run=other")[0] == 0
    assert run(volume, "train", "--run=other", "--k-values=2,3")[0] == 0
    assert run(volume, "evaluate", "--run=other", "--n-clusters=9")[0] == 64
    assert {path: path.read_bytes() for path in (volume / "model").rglob("*") if path.is_file()} == before


def test_a_volume_that_is_missing_or_no_folder_is_a_matter_of_setup(volume, tmp_path, record):
    (tmp_path / "file").touch()
    for stage in PIPELINE.stage_names:
        for path in (tmp_path / "nowhere", tmp_path / "file"):
            code, log = run(path, stage, *flags(stage))
            assert_refused(
                log, code, 78, f"there is no volume at {re.escape(str(path))}: mount it there, or name it with --volume"
            )
    record("volume that is not there", 2 * len(PIPELINE.stage_names), "78, with the remedy")
