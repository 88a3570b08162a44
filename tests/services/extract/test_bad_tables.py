"""Both readers, with every table of tests/services/bad_tables.py."""

import math

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contract import tables
from services.contract.errors import DataError
from services.extract import customers
from services.extract.customers import read_customers
from tests.services.bad_tables import FEATURES, TABLES, Table


@pytest.fixture(params=["fast", "strict"])
def read(request, tmp_path, monkeypatch):
    if request.param == "strict":
        monkeypatch.setattr(customers, "_read_fast", lambda *_: None)

    def read_table(table: Table):
        path = tmp_path / "file.csv"
        path.write_bytes(table.content)
        rows = read_customers(path, FEATURES)[["CUST_ID", *FEATURES]].itertuples(index=False, name=None)
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
    columns = tables.read_header(path, ["BALANCE"])
    fast = customers._read_fast(path, columns, ["BALANCE"])
    if fast is not None:
        strict = pd.DataFrame(tables.read_rows(path, ["BALANCE"]), columns=columns)
        pd.testing.assert_frame_equal(fast, strict.astype(fast.dtypes.to_dict()))
