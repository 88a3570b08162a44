"""Parquet files, alone and beside CSV files."""

import duckdb
import pandas as pd
import pytest

from stagekit.errors import DataError
from tests.services.extract.runs import extract

FRAME = "SELECT * FROM (VALUES ('A', 1, 2.5::FLOAT, 'x'), (' B ', NULL, 'nan'::DOUBLE, ''), ('A', 3, 0.1::DECIMAL(5, 2), NULL))"
COLUMNS = "AS rows(CUST_ID, BALANCE, PURCHASES, NOTE)"


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, query: str) -> None:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.sql(query).write_parquet(str(path))

    return write_file


def read(volume, **settings) -> pd.DataFrame:
    return pd.concat(extract(volume, **settings)[1], ignore_index=True)


def test_a_parquet_file_reads_as_the_csv_file_with_the_same_cells(tmp_path, write):
    write("file.parquet", f"{FRAME} {COLUMNS}")
    parquet = read(tmp_path, data_file="data/file.parquet")
    (tmp_path / "data/file.csv").write_text("CUST_ID,BALANCE,PURCHASES,NOTE\nA,1,2.5,x\n B ,,,\nA,3,0.1,\n")
    pd.testing.assert_frame_equal(parquet, read(tmp_path))
    assert parquet["CUST_ID"].tolist() == ["B", "A"]


def test_ids_that_are_numbers_become_text(tmp_path, write):
    write("file.parquet", "SELECT * FROM (VALUES (12345678901, 1, 2), (7, 1, 2)) AS rows(id, BALANCE, PURCHASES)")
    assert read(tmp_path, data_file="data/file.parquet", id_column="id")["CUST_ID"].tolist() == ["12345678901", "7"]


def test_csv_and_parquet_files_of_a_folder_are_one_table(tmp_path, write):
    write("many/b.parquet", "SELECT * FROM (VALUES ('A', 2, 2), ('C', 2, 2)) AS rows(CUST_ID, BALANCE, PURCHASES)")
    for name, rows in {"a": "A,1,1\nB,1,1\n", "c[1]": "C,3,3\n", "c[2]": "D,4,4\n"}.items():
        (tmp_path / f"data/many/{name}.csv").write_text(f"CUST_ID,BALANCE,PURCHASES\n{rows}")
    frame = read(tmp_path, data_file="data/many", rows_per_part=2)
    assert list(zip(frame["CUST_ID"], frame["BALANCE"], strict=True)) == [("B", 1.0), ("A", 2.0), ("C", 3.0), ("D", 4.0)]


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ("'A', 1, 'inf'::DOUBLE", "row 2: PURCHASES is 'inf', expected a number"),
        ("'A', 1, 1e16", r"row 2: PURCHASES is 1e\+16, expected a number between"),
        ("'A', 1, -1", r"row 2: PURCHASES is -1\.?0?, expected no negative number"),
        ("'A', true, 1", "row 2: BALANCE is 'true', expected a number"),
        ("'A', DATE '2026-01-05', 1", "row 2: BALANCE is '2026-01-05', expected a number"),
        ("NULL, 1, 1", "row 2: CUST_ID is empty"),
        ("'A' || chr(0), 1, 1", "row 2: a zero byte"),
    ],
)
def test_what_is_wrong_in_a_parquet_file_is_named_with_row_and_column(tmp_path, write, cells, complaint):
    write("file.parquet", f"SELECT * FROM (VALUES ('Z', NULL, NULL), ({cells})) AS rows(CUST_ID, BALANCE, PURCHASES)")
    with pytest.raises(DataError, match=rf"^file\.parquet {complaint}"):
        read(tmp_path, data_file="data/file.parquet")


def test_a_parquet_file_that_is_damaged_or_lacks_a_column_is_named(tmp_path, write):
    write("file.parquet", "SELECT 1 AS CUST_ID, 1 AS BALANCE, range AS PURCHASES FROM range(9999)")
    content = (tmp_path / "data/file.parquet").read_bytes()
    for damaged in (b"", b"no parquet", content[:-9], b"PAR1" + content[4:200] + b"\xff" * 200 + content[400:]):
        (tmp_path / "data/file.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match=r"^file\.parquet cannot be read as Parquet"):
            read(tmp_path, data_file="data/file.parquet")
    write("file.parquet", "SELECT 1 AS CUST_ID, 1 AS BALANCE")
    with pytest.raises(DataError, match=r"^file\.parquet: column 'PURCHASES' is missing"):
        read(tmp_path, data_file="data/file.parquet")
