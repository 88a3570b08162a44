import csv
import io
import tracemalloc

import pytest

from services.changes.migration import previous_names, write_changes
from services.contract.results import SEGMENTS_COLUMNS
from services.contract.segment_registry import (
    PublicationMetadata,
    RegisteredSegment,
    SegmentPublication,
    SegmentRegistry,
    SegmentRunEntry,
)
from tests.services.report.conftest import STARTED

NAMES = {1: "=savers", 2: "buyers"}


def segments(*rows):
    """A segments.csv, from customer, segment and segment of before."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SEGMENTS_COLUMNS, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(dict(zip(("CUST_ID", "segment_id", "previous_segment_id"), row, strict=True)) for row in rows)
    return io.BytesIO(text.getvalue().encode())


def moves(*rows):
    file = io.BytesIO()
    found = write_changes([segments(*rows)], NAMES, NAMES, file)
    return found, list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))[1:]


def test_those_who_stay_are_counted_and_not_listed():
    found, rows = moves(("a", "1", "1"), ("b", "2", "1"), ("c", "", ""), ("d", "1", ""))
    assert (found.customers, dict(found.between)) == (4, {("'=savers", "buyers"): 1})
    assert [row[0] for row in rows] == ["b"]


def test_a_table_in_parts_is_read_as_one():
    file = io.BytesIO()
    found = write_changes([segments(("a", "2", "1")), segments(("b", "1", "1"), ("c", "1", "2"))], NAMES, NAMES, file)
    assert found.customers == 3
    assert [line.split(b",")[0] for line in file.getvalue().splitlines()[1:]] == [b'"a"', b'"c"']


def test_a_name_that_a_spreadsheet_would_run_is_made_harmless_and_an_id_that_is_stays_as_it_is():
    _, rows = moves(("'=1+1", "2", "1"))
    assert rows == [["'=1+1", "1", "'=savers", "2", "buyers"]]


@pytest.mark.parametrize("customer", ["a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "Zoë 🦊"])
def test_an_id_comes_out_as_it_went_in_whatever_stands_in_it(customer):
    _, rows = moves((customer, "2", "1"))
    assert rows[0][0] == customer


def test_the_memory_needed_does_not_grow_with_the_table():
    rows = segments(*((f"customer {number}", "2", "1") for number in range(50_000)))
    size = len(rows.getvalue())

    class Sink(io.RawIOBase):
        def writable(self):
            return True

        def write(self, piece):
            return len(piece)

    tracemalloc.start()
    try:
        assert write_changes([rows], NAMES, NAMES, Sink()).customers == 50_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 < size
    finally:
        tracemalloc.stop()


def publication(names):
    contents = dict(PublicationMetadata(segments=names, deciles={}))
    return SegmentPublication(**contents, folder="000001-one", published=STARTED, files=())


def test_a_segment_is_called_as_it_was_when_the_customers_were_in_it():
    known = tuple(RegisteredSegment(segment_id=one, name=f"ours {one}", run="zero", centroid={}) for one in (1, 2, 3))
    two = SegmentRunEntry(run="two", predecessor="one", publication=publication({1: "as now"}))
    register = SegmentRegistry(
        runs=(SegmentRunEntry(run="one", publication=publication({1: "the user's"})), two), segments=known
    )
    assert previous_names(register, two) == {1: "the user's", 2: "ours 2", 3: "ours 3"}


def test_where_what_was_in_force_before_is_no_longer_kept_our_own_names_serve():
    known = (RegisteredSegment(segment_id=1, name="ours", run="zero", centroid={}),)
    two = SegmentRunEntry(run="two", predecessor="one", publication=publication({1: "as now"}))
    assert previous_names(SegmentRegistry(runs=(SegmentRunEntry(run="one"), two), segments=known), two) == {1: "ours"}
