"""Both readers, with every table of tests/services/bad_tables.py."""

import gzip
import math

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.contract import database
from services.contract.database import Span, load, read_part, read_schema
from services.contract.errors import DataError
from services.contract.tables import TableFormat
from tests.services.bad_tables import FEATURES, TABLES, Table
from tests.services.extract.runs import extract, extract_file


def refuse(*_: object) -> None:
    raise duckdb.InvalidInputException("not tried")


@pytest.fixture(params=["fast", "strict", "in parts", "packed"])
def read(request, tmp_path, monkeypatch):
    if request.param == "strict":
        monkeypatch.setattr(database, "_load_fast", refuse)

    def read_table(table: Table):
        if request.param == "packed":
            (tmp_path / "data").mkdir()
            (tmp_path / "data/file.csv.gz").write_bytes(gzip.compress(table.content))
            customers = pd.concat(extract(tmp_path, feature_columns=FEATURES, data_file="data/file.csv.gz")[1])
        else:
            part_rows = 1 if request.param == "in parts" else 1000
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
    st.sampled_from(
        [
            '"',
            '"',
            '""',
            "A",
            "1",
            "0",
            " ",
            "\t",
            "\r",
            "\n",
            ",",
            ";",
            "-",
            "+",
            ".",
            "e5",
            "_",
            "NA",
            "nan",
            "inf",
            "#",
            "\\",
        ]
        + ["é", "\ufeff", "\x00", "\x0b", "\x1c", "\u2028", "٥"]
    ),
    max_size=5,
)
ROWS = st.lists(CELLS.map("".join) | st.sampled_from(["A", "1", "", '""']), min_size=1, max_size=4).map(",".join)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@example([' "A",1'], "\n", ["CUST_ID", "BALANCE"], TableFormat())
@example(['"A" ,1'], "\n", ["CUST_ID", "BALANCE"], TableFormat())
@example(["A,1,"], "\n", ["CUST_ID", "BALANCE"], TableFormat())
@example(["A,1,NA"], "\n", ["CUST_ID", "BALANCE"], TableFormat())
@example(["A,NA", 'B,"1,5"'], "\n", ["NOTE", "BALANCE"], TableFormat(delimiter=",", decimal=","))
@given(
    st.lists(ROWS, max_size=4),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    st.sampled_from([["CUST_ID", "BALANCE"], ["BALANCE"], ["NOTE", "BALANCE"], ["BALANCE", "NOTE", "CUST_ID"]]),
    st.sampled_from([TableFormat(), TableFormat(delimiter=";", decimal=",")]),
)
def test_whatever_duckdb_reads_of_a_table_is_what_the_strict_reader_reads(
    tmp_path_factory, monkeypatch, rows, line_end, header, table_format
):
    folder = tmp_path_factory.mktemp("table")
    path = folder / "file.csv"
    path.write_text(line_end.join([table_format.delimiter.join(header), *rows]), newline="")
    for keep in (None, ["BALANCE"]):
        schema = read_schema([path], ["BALANCE"], table_format, keep)
        read_strictly = []
        with monkeypatch.context() as patch:
            patch.setattr(database, "_load_strictly", lambda *_: read_strictly.append(True))
            fast = load([path], schema=schema, folder=folder)
        if not read_strictly:
            with monkeypatch.context() as patch:
                patch.setattr(database, "_load_fast", refuse)
                strict = load([path], schema=schema, folder=folder)
            assert not strict.faults.first
            assert strict.n_rows == fast.n_rows
            both = [read_part([Span(one.database, 0, one.n_rows)], schema) for one in (fast, strict)]
            pd.testing.assert_frame_equal(*both)
