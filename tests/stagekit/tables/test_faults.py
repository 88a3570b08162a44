import csv
import logging

import pytest

from stagekit.errors import DataError
from stagekit.tables import faults
from stagekit.tables.faults import Fault, Faults, raise_if_faulty
from stagekit.volume.workspace import Workspace
from tests.stagekit.declaration import PIPELINE


def wrong(row: int, column: str = "BALANCE", value: str = "'abc'", expected: str = "a number") -> Fault:
    return Fault("file.csv", row, column, value, expected, f"{column} is {value}, expected {expected}")


@pytest.fixture
def collect(tmp_path):
    def collect_faults(name: str, *found: Fault) -> Faults:
        collected = Faults(tmp_path / f"{name}.part")
        collected.collect(lambda report: [report(fault) for fault in found])
        return collected

    return collect_faults


def left_behind(volume) -> list[dict[str, str]]:
    with (volume / "runs/demo/read/faults.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_single_fault_is_the_whole_message(tmp_path, collect):
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work, pytest.raises(DataError) as error:
        raise_if_faulty([collect("a"), collect("b", wrong(3))], work)
    assert str(error.value) == "file.csv row 3: BALANCE is 'abc', expected a number"
    assert left_behind(tmp_path) == [
        {"file": "file.csv", "row": "3", "column": "BALANCE", "value": "'abc'", "expected": "a number"}
    ]


def test_twenty_faults_are_logged_all_are_counted_by_column_and_kind_and_all_are_left_in_a_file(tmp_path, collect, caplog):
    caplog.set_level(logging.INFO)
    first = collect("a", *(wrong(row) for row in range(2, 17)), wrong(17, "", "3 fields", "4 fields"))
    second = collect("b", *(wrong(row, "PURCHASES", "-2", "no negative number") for row in range(2, 1002)))
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work, pytest.raises(DataError) as error:
        raise_if_faulty([first, second], work)
    assert str(error.value) == (
        "file.csv row 2: BALANCE is 'abc', expected a number; 1,016 faults (PURCHASES: 1,000 × expected no negative number, "
        "BALANCE: 15 × expected a number, rows: 1 × expected 4 fields); runs/demo/read/faults.csv lists them: "
        "correct the table, then run again"
    )
    assert len(caplog.messages) == 20
    assert caplog.messages[15:17] == [str(first.first[15]), str(second.first[0])]
    rows = left_behind(tmp_path)
    assert len(rows) == 1016
    assert [row["row"] for row in rows[14:18]] == ["16", "17", "2", "3"]


def test_the_next_try_removes_the_faults_of_this_one(tmp_path, collect):
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work, pytest.raises(DataError):
        raise_if_faulty([collect("a", wrong(3))], work)
    assert sorted(path.name for path in (tmp_path / "runs/demo/read").iterdir()) == ["faults.csv"]
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work:
        raise_if_faulty([collect("b")], work)
    assert not (tmp_path / "runs/demo/read/faults.csv").exists()


def test_the_number_of_collected_faults_of_a_file_is_limited(tmp_path, collect, monkeypatch):
    monkeypatch.setattr(faults, "MAX_FAULTS", 5)
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work, pytest.raises(DataError, match="; more than 5 faults "):
        raise_if_faulty([collect("a", *(wrong(row) for row in range(2, 100)))], work)
    assert len(left_behind(tmp_path)) == 5


def test_formulas_in_the_list_of_faults_are_escaped(tmp_path, collect):
    with Workspace(PIPELINE, "read", tmp_path, "demo") as work, pytest.raises(DataError):
        raise_if_faulty([collect("a", wrong(3, "=cmd()", "-1+2"))], work)
    assert (left_behind(tmp_path)[0]["column"], left_behind(tmp_path)[0]["value"]) == ("'=cmd()", "'-1+2")
