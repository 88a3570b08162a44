"""Both readers, with every table of tests/services/bad_tables.py."""

import gzip
import math

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.contract.columns import CUSTOMER_COLUMNS, CUSTOMER_FORMAT
from stagekit.errors import DataError
from stagekit.tables import duckdb_reader, strict_reader
from stagekit.tables.duckdb_reader import read_schema
from stagekit.tables.faults import raise_fault
from stagekit.tables.table_schema import TableFormat
from tests.services.bad_tables import FEATURES, RIGHT, TABLES, Table
from tests.services.extract.runs import extract, extract_file


def refuse(*_: object) -> None:
    raise duckdb.InvalidInputException("not tried")


@pytest.fixture
def read(tmp_path, monkeypatch):
    def read_table(way: str, table: Table):
        if way == "strict":
            monkeypatch.setattr(duckdb_reader, "load_with_duckdb", refuse)
        if way == "packed":
            (tmp_path / "data").mkdir()
            (tmp_path / "data/file.csv.gz").write_bytes(gzip.compress(table.content))
            customers = pd.concat(extract(tmp_path, feature_columns=FEATURES, data_file="data/file.csv.gz")[1])
        else:
            rows_per_part = 1 if way == "in parts" else 1000
            customers = extract_file(table.content, tmp_path, feature_columns=FEATURES, rows_per_part=rows_per_part)
        rows = customers[["CUST_ID", *FEATURES]].itertuples(index=False, name=None)
        return [tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row) for row in rows]

    return read_table


# A table is rejected before it is divided into parts.
CASES = [(way, table) for way in ("fast", "strict", "packed") for table in TABLES] + [("in parts", table) for table in RIGHT]


@pytest.mark.parametrize(("way", "table"), CASES, ids=lambda one: one.name if isinstance(one, Table) else one)
def test_a_table_is_read_right_or_what_is_wrong_is_named(read, way, table):
    if table.complaint:
        with pytest.raises(DataError, match=rf"file\.csv.*{table.complaint}"):
            read(way, table)
    else:
        assert read(way, table) == list(table.rows)


@pytest.fixture(scope="module")
def connection():
    """A connection for all examples: opening one takes longer than all else."""
    with duckdb.connect() as connection:
        yield connection


SIGNS = ['"', '"', '""', *"A10", " ", "\t", "\r", "\n", *",;-+._#\\é\ufeff\x00\x0b\x1c\u2028٥", "e5", "NA", "nan", "inf"]
CELLS = st.lists(st.sampled_from(SIGNS), max_size=5)
ROWS = st.lists(CELLS.map("".join) | st.sampled_from(["A", "1", "", '""']), min_size=1, max_size=4)


@settings(
    max_examples=5 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@example([[' "A"', "1"]], "\n", ["CUST_ID", "BALANCE"], CUSTOMER_FORMAT, True)
@example([['"A" ', "1"]], "\n", ["CUST_ID", "BALANCE"], CUSTOMER_FORMAT, True)
@example([["A", "1", ""]], "\n", ["CUST_ID", "BALANCE"], CUSTOMER_FORMAT, True)
@example([["A", "1", "NA"]], "\n", ["CUST_ID", "BALANCE"], CUSTOMER_FORMAT, True)
@example([["A", "NA"], ["B", '"1,5"']], "\n", ["NOTE", "BALANCE"], TableFormat("CUST_ID", ";", ",", CUSTOMER_COLUMNS), True)
@given(
    st.lists(ROWS, max_size=4),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    st.sampled_from([["CUST_ID", "BALANCE"], ["BALANCE"], ["NOTE", "BALANCE"], ["BALANCE", "NOTE", "CUST_ID"]]),
    st.sampled_from([CUSTOMER_FORMAT, TableFormat("CUST_ID", ";", ",", CUSTOMER_COLUMNS)]),
    st.booleans(),
)
def test_whatever_duckdb_reads_of_a_table_is_what_the_strict_reader_reads(
    tmp_path, connection, rows, line_end, header, table_format, keeps_all
):
    path = tmp_path / "file.csv"
    lines = [header, *rows]
    path.write_text(line_end.join(table_format.delimiter.join(line) for line in lines), newline="")
    schema = read_schema([path], ["BALANCE"], table_format, None if keeps_all else ["BALANCE"])
    connection.execute("DROP TABLE IF EXISTS rows")
    duckdb_reader.create_table(connection, schema)
    try:
        duckdb_reader.load_with_duckdb(connection, path, schema)
    except duckdb.Error:
        return
    fast = connection.execute("SELECT * FROM rows").fetchall()
    records = strict_reader.read_records(path, table_format, raise_fault)
    assert fast == [tuple(row) for row in strict_reader.check_records(path.name, records, schema, raise_fault)]
