"""The tables for a CRM: every customer, and what changed."""

import csv
from datetime import date

import pytest

from services.changes.crm import CustomerTables, Publication
from services.contract.results import CHANGED_COLUMNS, CRM_COLUMNS, SEGMENTS_COLUMNS
from stagekit.tables.duckdb_reader import connect

OCTOBER, NOVEMBER, DECEMBER = date(2026, 10, 5), date(2026, 11, 2), date(2026, 12, 7)


def write_segments(path, *rows):
    """Write a segments.csv from customer, segment and previous segment."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SEGMENTS_COLUMNS, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(dict(zip(("CUST_ID", "segment_id", "previous_segment_id"), row, strict=False)) for row in rows)
    return path


def read(path, columns):
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(columns)
    return rows


def publish(folder, parts, names, day, previous=None):
    """Write crm.csv and changed.csv of a publication; `previous` holds its crm.csv or segments.csv, its names and its date."""
    folder.mkdir()
    with connect(folder, folder / "customers.duckdb") as connection:
        before = Publication(*previous[1:]) if previous else None
        tables = CustomerTables(connection, Publication(names, day), before)
        for number, rows in enumerate(parts):
            with write_segments(folder / f"{number}.csv", *rows).open("rb") as file:
                tables.add_current([file])
        if previous:
            with previous[0].open("rb") as file:
                (tables.add_previous_crm if previous[0].name == "crm.csv" else tables.add_previous)([file])
            if not tables.are_ids_known():
                tables.forget_previous()
        tables.write_crm(str(folder / "crm.csv"))
        counts = tables.write_changed(str(folder / "changed.csv"))
    return counts, read(folder / "crm.csv", CRM_COLUMNS), read(folder / "changed.csv", CHANGED_COLUMNS)


NAMES = {1: "savers", 2: "buyers"}
FIRST = [[("a", "1"), ("b", "1"), ("c", "2")], [("d", ""), ("e", "2"), ("f", "")]]


@pytest.fixture
def first(tmp_path):
    publish(tmp_path / "october", FIRST, NAMES, OCTOBER)
    return tmp_path / "october/crm.csv", NAMES, OCTOBER


def test_the_first_publication_has_all_customers_with_its_date_and_no_changes(tmp_path):
    counts, crm, changed = publish(tmp_path / "october", FIRST, NAMES, OCTOBER)
    assert crm[:4] == [
        ["a", "1", "savers", "2026-10-05"],
        ["b", "1", "savers", "2026-10-05"],
        ["c", "2", "buyers", "2026-10-05"],
        ["d", "", "(no segment)", "2026-10-05"],
    ]
    assert changed == []
    assert (counts.customers, sum(counts.changes.values()), counts.moves) == (6, 0, [])


def test_new_departed_moved_and_renamed_customers_are_listed_with_the_date(tmp_path, first):
    rows = [("e", "2", "2"), ("a", "2", "1"), ("d", "1", ""), ("b", "", "1"), ("g", "2", ""), ("f", "", "")]
    counts, crm, changed = publish(tmp_path / "november", [rows], {1: "savers", 2: "big buyers"}, NOVEMBER, first)
    assert changed == [
        ["e", "2", "buyers", "2", "big buyers", "renamed", "2026-10-05"],
        ["a", "1", "savers", "2", "big buyers", "moved", "2026-11-02"],
        ["d", "", "(no segment)", "1", "savers", "moved", "2026-11-02"],
        ["b", "1", "savers", "", "(no segment)", "moved", "2026-11-02"],
        ["g", "", "", "2", "big buyers", "new", "2026-11-02"],
        ["c", "2", "buyers", "", "", "departed", "2026-11-02"],
    ]
    assert [(row[0], row[3]) for row in crm if row[3] == "2026-10-05"] == [("e", "2026-10-05"), ("f", "2026-10-05")]
    assert counts.changes == {"new": 1, "departed": 1, "moved": 3, "renamed": 1}
    assert counts.moves == [
        ("(no segment)", "savers", 1),
        ("savers", "(no segment)", 1),
        ("savers", "big buyers", 1),
    ]


def test_the_date_of_the_last_change_is_carried_from_publication_to_publication(tmp_path, first):
    moved = [("a", "2", "1"), ("b", "1", "1")]
    publish(tmp_path / "november", [moved], NAMES, NOVEMBER, first)
    stays = [("a", "2", "2"), ("b", "1", "1")]
    _, crm, changed = publish(tmp_path / "december", [stays], NAMES, DECEMBER, (tmp_path / "november/crm.csv", NAMES, NOVEMBER))
    assert crm == [["a", "2", "buyers", "2026-11-02"], ["b", "1", "savers", "2026-10-05"]]
    assert changed == []


def test_the_previous_full_file_with_the_changes_is_the_full_file(tmp_path, first):
    rows = [("e", "1", "2"), ("a", "2", "1"), ("b", "1", "1"), ("d", "", ""), ("g", "", "")]
    _, crm, changed = publish(tmp_path / "november", [rows], {1: "savers", 2: "big buyers"}, NOVEMBER, first)
    customers = {row[0]: row[1:] for row in read(first[0], CRM_COLUMNS)}
    for customer, _, _, segment_id, name, change, since in changed:
        if change == "departed":
            del customers[customer]
        else:
            customers[customer] = [segment_id, name, since]
    assert customers == {row[0]: row[1:] for row in crm}


def test_without_the_previous_full_file_its_date_is_used_as_that_of_the_last_change(tmp_path):
    segments = write_segments(tmp_path / "segments.csv", ("a", "1", "1"), ("b", "2", "1"))
    rows = [("a", "1", "1"), ("b", "1", "2")]
    _, crm, _ = publish(tmp_path / "november", [rows], NAMES, NOVEMBER, (segments, NAMES, OCTOBER))
    assert [row[3] for row in crm] == ["2026-10-05", "2026-11-02"]


def test_row_numbers_are_no_ids_and_nothing_is_compared(tmp_path):
    """A table without CUST_ID: the same numbers, but no previous segments."""
    segments = write_segments(tmp_path / "segments.csv", ("1", "1"), ("2", "2"))
    counts, crm, changed = publish(
        tmp_path / "november", [[("1", "2"), ("2", "1")]], NAMES, NOVEMBER, (segments, NAMES, OCTOBER)
    )
    assert ([row[3] for row in crm], changed, counts.changes["moved"]) == (["2026-11-02"] * 2, [], 0)


def test_a_segment_that_has_gone_keeps_its_name_and_one_without_customers_does_no_harm(tmp_path, first):
    _, _, changed = publish(tmp_path / "november", [[("a", "3", "1")]], {3: "new ones", 4: "none"}, NOVEMBER, first)
    assert changed[0] == ["a", "1", "savers", "3", "new ones", "moved", "2026-11-02"]


def test_a_name_that_a_spreadsheet_would_run_is_escaped_and_an_escaped_id_stays_as_it_is(tmp_path):
    _, crm, _ = publish(tmp_path / "october", [[("'=1+1", "1")]], {1: "=savers"}, OCTOBER)
    assert crm == [["'=1+1", "1", "'=savers", "2026-10-05"]]


@pytest.mark.parametrize("customer", ["a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "Zoë 🦊", "NULL"])
def test_an_id_comes_out_as_it_went_in_through_both_publications(tmp_path, customer):
    publish(tmp_path / "october", [[(customer, "1")]], NAMES, OCTOBER)
    previous = (tmp_path / "october/crm.csv", NAMES, OCTOBER)
    _, crm, changed = publish(tmp_path / "november", [[(customer, "2", "1")]], NAMES, NOVEMBER, previous)
    assert (crm[0][0], changed[0][0], len(changed)) == (customer, customer, 1)
