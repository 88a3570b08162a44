import csv
import io

import numpy as np
import pandas as pd
import pytest

from services.contract.results import SCORES_COLUMNS, SEGMENTS_COLUMNS
from services.segment import assignment
from services.segment.assignment import Segmenter, assign, outlier_distances
from services.segment.segments_csv import (
    NO_SEGMENT,
    NOT_IN_TABLE,
    add_flags,
    count_reasons,
    escape_formulas,
    make_rows,
    read_members,
    write_rows,
)
from services.transform.features import fit_preparation
from tests.services.segment.runs import FEATURES, group, table

NASTY = ["=1+1", "'=1+1", "-5", "O'Brien", 'say "hi"', "a,b", "line\rbreak", "line\nbreak", "\tx", "0012", "NA", "＝1", "x"]


def written(ids: list[str], names=("=cmd", "plain"), previous=None, flags=False, gap=()) -> str:
    """Write segments.csv for customers with these ids, those in `gap` without a value."""
    customers = table(group("savers", len(ids) // 2), group("buyers", len(ids) - len(ids) // 2)).assign(CUST_ID=ids)
    preparation = fit_preparation(customers, FEATURES)
    centroids = preparation.transform(customers)[[0, -1]]
    customers.loc[list(gap), "BALANCE"] = np.nan
    found = assign(customers, preparation, centroids)
    segmenter = Segmenter(preparation, centroids, outlier_distances(found, 2), np.array([4, 9]), names, has_ids=True)
    rows = make_rows(customers, found, segmenter, previous)
    file = io.BytesIO()
    assert write_rows(add_flags(rows, customers, segmenter) if flags else rows, file) == len(ids)
    return file.getvalue().decode()


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("piece", [1, 4, 1000])
def test_every_customer_is_there_once_and_in_order_whatever_the_size_of_a_piece(monkeypatch, piece):
    monkeypatch.setattr(assignment, "_PIECE", piece)
    ids = [f"C{number}" for number in range(10)]
    rows = parsed(written(ids, gap=(3, 4)))
    assert [row["CUST_ID"] for row in rows] == ids
    assert tuple(rows[0]) == SEGMENTS_COLUMNS
    assert [row["segment_id"] for row in rows] == ["4", "4", "4", "", "", "9", "9", "9", "9", "9"]
    assert rows[3]["reason"] == "no value for BALANCE"
    assert {rows[3][name] for name in ("segment_name", "distance", "distance_to_next", "confidence", "unusual")} == {""}
    assert rows[0]["reason"] == ""


def test_cells_that_a_spreadsheet_would_run_are_made_harmless_and_numbers_stay_numbers():
    rows = parsed(written(["=HYPERLINK(1)", "@x", "-5", "C1"]))
    assert [row["CUST_ID"] for row in rows] == ["'=HYPERLINK(1)", "'@x", "-5", "C1"]
    assert rows[0]["segment_name"] == "'=cmd"
    assert 0 <= float(rows[0]["confidence"]) <= 1
    assert float(rows[0]["distance"]) == 0


def test_a_column_is_made_harmless_like_its_texts_one_by_one():
    assert escape_formulas(pd.Series(NASTY, dtype="str")).tolist() == [
        "'=1+1",
        "''=1+1",
        "-5",
        "O'Brien",
        'say "hi"',
        "a,b",
        "line\rbreak",
        "line\nbreak",
        "'\tx",
        "0012",
        "NA",
        "'＝1",
        "x",
    ]


def test_members_are_found_again_whatever_their_ids_look_like():
    text = written(NASTY, gap=(2,))
    today = [*NASTY[::-1], "someone else"]
    found = read_members([io.BytesIO(text.encode())], pd.Series(today, dtype="str"))
    expected = [9] * 7 + [4] * 3 + [NO_SEGMENT] + [4] * 2 + [NOT_IN_TABLE]
    assert found.segment_ids.tolist() == expected
    assert found.departed == {}


def test_members_who_have_left_are_counted_by_segment():
    text = written([f"C{number}" for number in range(8)], gap=(2,))
    found = read_members([io.BytesIO(text.encode())], pd.Series(["C0", "C0", "C7"], dtype="str"))
    assert found.segment_ids.tolist() == [4, 4, 9]
    assert found.departed == {4: 2, NO_SEGMENT: 1, 9: 3}


def test_the_segment_of_before_is_told_where_there_was_one():
    rows = parsed(written(["A", "B", "C", "D"], previous=np.array([4, NO_SEGMENT, NOT_IN_TABLE, 12])))
    assert [row["previous_segment_id"] for row in rows] == ["4", "", "", "12"]


def test_scored_customers_are_flagged_where_they_lie_outside_the_training_range(monkeypatch):
    customers = table(group("savers", 3), group("buyers", 3))
    preparation = fit_preparation(customers, FEATURES)
    centroids = preparation.transform(customers)[[0, -1]]
    new = customers.assign(BALANCE=[1e6, *customers["BALANCE"][1:]], PURCHASES=[0.0, *customers["PURCHASES"][1:5], np.nan])
    segmenter = Segmenter(preparation, centroids, np.array([1.0, 1.0]), np.array([1, 2]), ("a", "b"), has_ids=True)
    file = io.BytesIO()
    write_rows(add_flags(make_rows(new, assign(new, preparation, centroids), segmenter, None), new, segmenter), file)
    rows = parsed(file.getvalue().decode())
    assert tuple(rows[0]) == SCORES_COLUMNS
    assert [row["outside_training_range"] for row in rows] == ["BALANCE PURCHASES", "", "", "", "", ""]
    assert rows[0]["unusual"] == "yes"


def test_reasons_are_counted_the_most_frequent_first():
    assert count_reasons(["b", "a", "b"]) == {"b": 2, "a": 1}
    assert list(count_reasons([f"reason {number}" for number in range(20)]).items())[-1] == ("other reasons", 11)
    assert count_reasons([]) == {}
