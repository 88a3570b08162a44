import csv
import io
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from services.contract.artifacts import SEGMENTS, SEGMENTS_PARQUET
from services.contract.results import SCORES_COLUMNS, SEGMENTS_COLUMNS
from services.segment import assignment, membership, segments_csv
from services.segment.assignment import Segmenter
from services.segment.membership import (
    NO_SEGMENT,
    NOT_IN_TABLE,
    PreviousMembership,
    find_previous_membership,
)
from services.segment.part_tasks import assign_part, split_ids
from services.segment.segments_csv import score_part, write_part
from services.transform.features import fit_preparation
from stagekit.volume.parts import OutputLocation
from stagekit.workers.worker_pool import InMemoryParts
from tests.services.segment.runs import FEATURES, group, table

NASTY = ["=1+1", "'=1+1", "-5", "O'Brien", 'the "x"', "a,b", "line\rbreak", "line\nbreak", "\tx", "0012", "NA", "＝1", "x"]
REPOSITORY = Path(__file__).parents[3]
NAMES = ("=cmd", "plain")


def write(folder: Path, ids: list[str] | None, previous=None, gap=(), parquet=False, first_row=0) -> Path:
    """Write segments.csv for customers with these ids, those in `gap` without a value."""
    n_customers = len(ids or range(4))
    customers = table(group("savers", n_customers // 2), group("buyers", n_customers - n_customers // 2))
    customers = customers.drop(columns="CUST_ID") if ids is None else customers.assign(CUST_ID=ids)
    preparation = fit_preparation(customers, FEATURES)
    centroids = preparation.transform(customers)[[0, -1]]
    customers.loc[list(gap), "BALANCE"] = np.nan
    part = assign_part(split_ids(customers, FEATURES, folder), preparation=preparation, centroids=centroids)
    segmenter = Segmenter(preparation, centroids, np.array([np.inf, np.inf]), np.array([4, 9]), NAMES, has_ids=True)
    location = OutputLocation(folder, SEGMENTS_PARQUET if parquet else SEGMENTS)
    return write_part(part, first_row, previous, segmenter=segmenter, location=location).path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_every_customer_is_there_once_and_in_order_whatever_the_chunk_size(monkeypatch, tmp_path, chunk):
    monkeypatch.setattr(assignment, "CHUNK_ROWS", chunk)
    ids = [f"C{number}" for number in range(10)]
    rows = rows_of(write(tmp_path, ids, gap=(3, 4)))
    assert [row["CUST_ID"] for row in rows] == ids
    assert tuple(rows[0]) == SEGMENTS_COLUMNS
    assert [row["segment_id"] for row in rows] == ["4", "4", "4", "", "", "9", "9", "9", "9", "9"]
    assert rows[3]["reason"] == "no value for BALANCE"
    filled = {name for name, cell in rows[3].items() if cell}
    assert filled == {"CUST_ID", "reason"}
    assert rows[0]["reason"] == ""


def test_the_file_is_written_as_the_csv_module_writes_it(tmp_path):
    path = write(tmp_path, [*NASTY, "C1"], gap=(5,), previous=np.array([4] * 13 + [9], dtype=np.int32))
    rows = rows_of(path)
    expected = io.StringIO(newline="")
    writer = csv.DictWriter(expected, SEGMENTS_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        numbers = {name: repr(float(row[name])) for name in ("distance", "distance_to_next", "confidence") if row[name]}
        writer.writerow(row | numbers)
    text = path.read_bytes().decode()
    assert text.replace('"line\rbreak"', "line\rbreak") == expected.getvalue().replace('"line\rbreak"', "line\rbreak")
    assert '"line\rbreak"' in text  # Python before 3.13 leaves it unquoted, and readers take it for the end of the row


def test_a_number_is_written_with_as_few_digits_as_it_has(tmp_path, monkeypatch):
    numbers = np.array([0.0, 0.5, 12.25, 0.123456, 0.12345, 2.0, 1e-6, 0.000999, 99_999_999.123457, 1e9, 1e15, 1e300, np.nan])
    monkeypatch.setattr(segments_csv, "confidence", lambda _: numbers)
    cells = [row["confidence"] for row in rows_of(write(tmp_path, [f"C{number}" for number in range(len(numbers))]))]
    assert [float(cell) for cell in cells[:-1]] == numbers[:-1].tolist()
    assert cells == [
        "0.0",
        "0.5",
        "12.25",
        "0.123456",
        "0.12345",
        "2.0",
        "1e-06",
        "0.000999",
        "99999999.123457",
        *cells[9:12],
        "",
    ]


def test_cells_that_a_spreadsheet_would_run_are_escaped_and_numbers_stay_numbers(tmp_path):
    rows = rows_of(write(tmp_path, ["=HYPERLINK(1)", "@x", "-5", "C1"]))
    assert [row["CUST_ID"] for row in rows] == ["'=HYPERLINK(1)", "'@x", "-5", "C1"]
    assert rows[0]["segment_name"] == "'=cmd"
    assert 0 <= float(rows[0]["confidence"]) <= 1
    assert float(rows[0]["distance"]) == 0


def test_parquet_has_the_same_columns_with_types_and_unescaped_texts(tmp_path):
    path = write(tmp_path, ["=1", "b", "c", "d"], gap=(1,), previous=np.array([4, 0, -1, 9], dtype=np.int32), parquet=True)
    table = duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)])
    assert tuple(column[0] for column in table.description) == SEGMENTS_COLUMNS
    rows = table.fetchall()
    assert rows[0][:4] == ("=1", 4, "=cmd", 0.0)
    assert rows[1][1:] == (*[None] * 10, "no value for BALANCE")
    assert [row[SEGMENTS_COLUMNS.index("previous_segment_id")] for row in rows] == [4, None, None, 9]


def test_the_next_segment_and_the_decisive_features_are_named(tmp_path):
    rows = rows_of(write(tmp_path, ["A", "B", "C", "D"]))
    assert [row["next_segment_id"] for row in rows] == ["9", "9", "4", "4"]
    assert {row["own_feature"] for row in rows} <= set(FEATURES)
    assert {row["next_feature"] for row in rows} <= {*FEATURES, ""}


def test_every_column_is_documented():
    documented = re.findall(r"^\| `(\w+)` \|", (REPOSITORY / "docs/segments-table.md").read_text(), flags=re.M)
    assert tuple(documented) == SCORES_COLUMNS


def test_without_ids_customers_are_numbered_over_all_parts(tmp_path):
    assert [row["CUST_ID"] for row in rows_of(write(tmp_path, None, first_row=7))] == ["8", "9", "10", "11"]


def test_ids_are_escaped_like_all_texts(tmp_path):
    assert [row["CUST_ID"] for row in rows_of(write(tmp_path, NASTY))] == [
        "'=1+1",
        "''=1+1",
        "-5",
        "O'Brien",
        'the "x"',
        "a,b",
        "line\rbreak",
        "line\nbreak",
        "'\tx",
        "0012",
        "NA",
        "'＝1",
        "x",
    ]


def look_up(path: Path, *parts: list[str]) -> PreviousMembership:
    """Find the previous segments of current customers, in parts."""
    frames = [pd.DataFrame({"CUST_ID": pd.Series(ids, dtype="str")}) for ids in parts]
    current = InMemoryParts([split_ids(frame, (), path.parent) for frame in frames])
    with path.open("rb") as file:
        return find_previous_membership([file], current, path.parent)


@pytest.mark.parametrize("rows_at_a_time", [3, 1000])
def test_previous_segments_are_found_whatever_the_ids_look_like(tmp_path, monkeypatch, rows_at_a_time):
    monkeypatch.setattr(membership, "_JOIN_ROWS", rows_at_a_time)
    path = write(tmp_path, NASTY, gap=(2,))
    found = look_up(path, NASTY[:4:-1], [*NASTY[4::-1], "new"])
    assert found.segment_ids.tolist() == [9] * 7 + [4] * 3 + [NO_SEGMENT] + [4] * 2 + [NOT_IN_TABLE]
    assert found.departed == {}


def test_customers_who_have_left_are_counted_by_segment(tmp_path):
    found = look_up(write(tmp_path, [f"C{number}" for number in range(8)], gap=(2,)), ["C0"], ["C7"])
    assert found.segment_ids.tolist() == [4, 9]
    assert found.departed == {4: 2, NO_SEGMENT: 1, 9: 3}


def test_a_file_of_an_earlier_version_with_other_columns_is_read(tmp_path):
    path = tmp_path / "segments.csv"
    path.write_bytes(b'segment_id,more,CUST_ID\n4,"a,\nb",C1\n,,"line\rbreak"\n')
    assert look_up(path, ["line\rbreak", "C1"]).segment_ids.tolist() == [NO_SEGMENT, 4]


def test_the_previous_segment_is_empty_if_there_was_none(tmp_path):
    previous = np.array([4, NO_SEGMENT, NOT_IN_TABLE, 12], dtype=np.int32)
    rows = rows_of(write(tmp_path, ["A", "B", "C", "D"], previous=previous))
    assert [row["previous_segment_id"] for row in rows] == ["4", "", "", "12"]


def test_scored_customers_outside_the_training_range_are_flagged(tmp_path):
    customers = table(group("savers", 3), group("buyers", 3))
    preparation = fit_preparation(customers, FEATURES)
    centroids = preparation.transform(customers)[[0, -1]]
    new = customers.assign(BALANCE=[1e6, *customers["BALANCE"][1:]], PURCHASES=[0.0, *customers["PURCHASES"][1:5], np.nan])
    segmenter = Segmenter(preparation, centroids, np.array([1.0, 1.0]), np.array([1, 2]), ("a", "b"), has_ids=True)
    part = split_ids(new, FEATURES, tmp_path)
    scored = score_part(part, 0, None, segmenter=segmenter, csv=OutputLocation(tmp_path, SEGMENTS))
    rows = rows_of(scored.csv.path)
    assert tuple(rows[0]) == SCORES_COLUMNS
    assert [row["outside_training_range"] for row in rows] == ["BALANCE PURCHASES", "", "", "", "", ""]
    assert rows[0]["is_outlier"] == "yes"
    assert (scored.n_outside, scored.sizes.tolist()) == (1, [2, 3])
