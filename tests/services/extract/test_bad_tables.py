"""Both readers, with every table of tests/services/bad_tables.py."""

import math

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contract import tables
from services.contract.errors import DataError
from services.extract import reading
from services.extract.customers import read_fast, read_strictly, read_table
from services.extract.pieces import Span
from tests.services.bad_tables import FEATURES, TABLES, Table
from tests.services.extract.runs import extract_file


@pytest.fixture(params=["fast", "strict", "in parts"])
def read(request, tmp_path, monkeypatch):
    if request.param == "strict":
        monkeypatch.setattr(reading, "read_fast", lambda *_: None)

    part_rows = 1 if request.param == "in parts" else 1000

    def read_table(table: Table):
        customers = extract_file(table.content, tmp_path, feature_columns=FEATURES, part_rows=part_rows)
        rows = customers[["CUST_ID", *FEATURES]].itertuples(index=False, name=None)
        return [tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row) for row in rows]

    return read_table


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_read_right_or_what_is_wrong_is_named(read, table):
    if table.complaint:
        with pytest.raises(DataError, match=rf"file\.csv.*{table.complaint}"):
            read(table)
    else:
        assert read(table) == list(table.rows)


CELLS = st.lists(
    st.sampled_from(['"', '"', '""', "A", "1", " ", "\t", "\r", "\n", ",", "-", "e5", ".5", "NA", "#", "\\", "é"]), max_size=4
)
ROWS = st.lists(CELLS.map("".join) | st.sampled_from(["A", "1"]), min_size=1, max_size=3).map(",".join)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=4), st.sampled_from(["\n", "\n", "\r\n", "\r"]), st.booleans())
def test_whatever_pandas_reads_of_a_table_is_what_the_strict_reader_reads(tmp_path, rows, line_end, has_ids):
    path = tmp_path / "file.csv"
    first = ["CUST_ID,BALANCE", "A,1"] if has_ids else ["BALANCE", "1"]
    path.write_text(line_end.join([*first, *rows]), newline="")
    span = Span(path, tables.find_first_row(path), path.stat().st_size)
    for keep in (None, {"BALANCE"}):
        table = read_table([path], ["BALANCE"], keep)
        fast = read_fast(span, table)
        if fast is not None:
            pd.testing.assert_frame_equal(fast, read_strictly(span, table)[0])
