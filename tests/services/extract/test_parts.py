"""The customer table in parts: cut anywhere, from several files, and always the one that a reader of all of it would see."""

import gzip
import json
import os
import random

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.extract import main
from stagekit.errors import DataError, MissingInputError, TransientError
from stagekit.tables import duckdb_reader
from stagekit.workers.worker_pool import worker_pool
from tests.services.extract.runs import extract, extract_file

HEADER = "CUST_ID,BALANCE,PURCHASES,NOTE\n"


def rows(count: int, first: int = 0) -> list[str]:
    return [f"C{number:04},{number},{number * 2}.5,x\n" for number in range(first, first + count)]


def put(volume, **files: str) -> None:
    for name, content in files.items():
        path = volume / "data" / name.replace("__", ".").replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())


def ids(parts: list[pd.DataFrame]) -> list[list[str]]:
    return [part["CUST_ID"].tolist() for part in parts]


def test_a_table_is_cut_into_parts_of_about_the_size_that_is_asked_for(tmp_path):
    put(tmp_path, file__csv=HEADER + "".join(rows(1000)))
    _, parts = extract(tmp_path, rows_per_part=100)
    assert [len(part) for part in parts] == [100] * 10
    assert [row for part in ids(parts) for row in part] == [f"C{number:04}" for number in range(1000)]
    assert len(extract(tmp_path, rows_per_part=2000)[1]) == 1


def test_small_files_share_a_part(tmp_path):
    for number in range(6):
        put(tmp_path, **{f"many_{number}__csv": HEADER + "".join(rows(10, number * 10))})
    _, parts = extract(tmp_path, data_file="data/many", rows_per_part=33)
    assert [len(part) for part in parts] == [33, 27]


@pytest.mark.parametrize("rows_per_part", [1, 3, 1000])
def test_of_all_rows_of_a_customer_the_last_one_in_file_order_is_kept_wherever_the_table_is_cut(tmp_path, rows_per_part):
    draw = random.Random(rows_per_part)
    table = [(f"C{draw.randrange(40)}", number) for number in range(300)]
    put(tmp_path, file__csv=HEADER + "".join(f"{customer},{number},0,x\n" for customer, number in table))
    result, parts = extract(tmp_path, rows_per_part=rows_per_part)
    last = dict(table)
    frame = pd.concat(parts)
    assert list(zip(frame["CUST_ID"], frame["BALANCE"], strict=True)) == sorted(last.items(), key=lambda item: item[1])
    assert result["duplicates_dropped"] == 300 - len(last)
    assert all(len(part) for part in parts)


IDS = ["A", "B", "Ab", '"A"', " B ", '"A,1"', '"A""1"', '""""', '"A\nB"', "é", "\ufeffA", "C" * 12, "C" * 13, "C" * 300]
NOTES = ["x", "x", '"x,y"', '"x\ny"']


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@example([('"A,1"', "x"), ('"A,1"', '"x\ny"')], "\n", 0, 1)
@example([("A", '"x,y"'), ("A", "x")], "\n", 1, 1)
@example([("\ufeffA", "x"), ("A", "x")], "\n", 0, 1)
@given(
    st.lists(st.tuples(st.sampled_from(IDS[:3]) | st.sampled_from(IDS), st.sampled_from(NOTES)), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_the_last_row_of_each_id_is_kept_for_any_ids_and_any_position_of_the_column(
    tmp_path, customers, line_end, column, rows_per_part
):
    lines = [["NOTE", "BALANCE", "PURCHASES"], *([note, str(number), "1"] for number, (_, note) in enumerate(customers))]
    for line, customer in zip(lines, ["CUST_ID", *(customer for customer, _ in customers)], strict=True):
        line.insert(column, customer)
    frame = extract_file(line_end.join(",".join(line) for line in lines), tmp_path, rows_per_part=rows_per_part)
    read = [one.strip() if one[0] != '"' else one[1:-1].replace('""', '"') for one, _ in customers]
    last = {customer: number for number, customer in enumerate(read)}
    assert list(zip(frame["CUST_ID"], frame["BALANCE"], strict=True)) == sorted(last.items(), key=lambda item: item[1])


@pytest.mark.parametrize("changed", [HEADER + "B,1,0,x\nA,1,0,x\n", HEADER + "A,abc,0,x\n"])
def test_a_table_that_changes_while_it_is_read_is_a_transient_error(tmp_path, monkeypatch, changed):
    def load(*arguments, **settings):
        put(tmp_path, file__csv=changed)
        return duckdb_reader.load_files(*arguments, **settings)

    put(tmp_path, file__csv=HEADER + "A,1,0,x\nA,1,0,x\n")
    os.utime(tmp_path / "data/file.csv", (0, 0))  # the clock of a file system may have a resolution of some milliseconds
    monkeypatch.setattr(main, "load_files", load)
    with pytest.raises(TransientError, match=r"^file\.csv was changed while it was read: run again"):
        extract(tmp_path)


def test_files_are_one_table_in_the_order_of_their_names_packed_or_not(tmp_path):
    put(
        tmp_path,
        many_b__csv=HEADER + "A,2,0,x\nC,2,0,x\n",
        many_a__csv__gz=HEADER + "A,1,0,x\nB,1,0,x\n",
        many_note__txt="no table",
    )
    for data_file in ("data/many", "data/many/*.csv*", "data/*/[ab].*"):
        _, parts = extract(tmp_path, data_file=data_file)
        frame = pd.concat(parts)
        assert list(zip(frame["CUST_ID"], frame["BALANCE"], strict=True)) == [("B", 1.0), ("A", 2.0), ("C", 2.0)]


def test_each_file_is_recorded_as_it_lies_on_the_volume(tmp_path):
    put(tmp_path, many_a__csv__gz=HEADER + "A,1,0,x\n", many_b__csv=HEADER + "B,1,0,x\n")
    extract(tmp_path, data_file="data/many")
    manifest = (tmp_path / "runs/demo/extract/manifest.json").read_text()
    assert manifest.index("data/many/a.csv.gz") < manifest.index("data/many/b.csv")
    assert sorted(path.name for path in (tmp_path / "runs/demo/extract").iterdir()) == [
        ".lock",
        "customers.pkl",
        "manifest.json",
    ]


def test_what_is_wrong_in_a_packed_file_is_named_as_in_any_other(tmp_path):
    put(tmp_path, many_a__csv=HEADER + "A,1,0,x\n", many_b__csv__gz=HEADER + "B,1,0,x\nC,abc,0,x\n")
    with pytest.raises(DataError, match=r"^b\.csv\.gz row 3: BALANCE is 'abc'"):
        extract(tmp_path, data_file="data/many")


@pytest.mark.parametrize("content", [b"no gzip at all", gzip.compress(b"CUST_ID,BALANCE,PURCHASES\n" * 1000)[:-20]])
def test_a_damaged_packed_file_is_named(tmp_path, content):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"file\.csv\.gz cannot be unpacked"):
        extract(tmp_path, data_file="data/file.csv.gz")


@pytest.mark.parametrize("other", ["CUST_ID,BALANCE,PURCHASES\n", "BALANCE,CUST_ID,PURCHASES,NOTE\n", HEADER[:-1] + ",MORE\n"])
def test_files_with_other_columns_are_not_one_table(tmp_path, other):
    put(tmp_path, many_a__csv=HEADER + "A,1,0,x\n", many_b__csv=other)
    with pytest.raises(DataError, match=r"b\.csv row 1: column .* all files need the same columns in the same order"):
        extract(tmp_path, data_file="data/many")


def test_a_folder_or_pattern_without_tables_is_named(tmp_path):
    put(tmp_path, many_note__txt="no table")
    for data_file in ("data/many", "data/*.csv"):
        with pytest.raises(MissingInputError, match=r"matches no \.csv, \.csv\.gz, \.parquet file"):
            extract(tmp_path, data_file=data_file)


def test_the_first_error_in_the_order_of_the_rows_is_named_with_its_row_in_the_file(tmp_path):
    lines = rows(500)
    lines[444], lines[321] = "D,1\n", "D,abc,1,x\n"
    with pytest.raises(DataError, match=r"^file\.csv row 323: BALANCE is 'abc'"):
        extract_file(HEADER + "".join(lines), tmp_path, rows_per_part=20)


CELLS = st.sampled_from(["", "x", '"a\nb"', '"a\n\nb,"', '"""\n"', '"', ' "', "\r", "é", "\n", '"a\r\nb"'])


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.integers(1, 4))
def test_wherever_a_table_is_cut_all_of_it_is_read_as_in_one_piece(tmp_path, cells, line_end, rows_per_part):
    content = HEADER + "".join(f"C{number},{number},1,{cell}{line_end}" for number, cell in enumerate(cells))

    def read(rows_per_part: int) -> object:
        try:
            return extract_file(content, tmp_path, rows_per_part=rows_per_part).to_dict("list")
        except DataError as error:
            return str(error)

    assert str(read(rows_per_part)) == str(read(1000))


def test_whether_files_are_loaded_together_or_each_by_a_worker_makes_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "worker_pool", lambda *_: worker_pool())
    draw = random.Random(0)
    for number in range(4):
        content = "".join(f"C{draw.randrange(80)},{row},{draw.random()},{draw.choice('xyz')}\n" for row in range(30 * number))
        put(tmp_path, **{f"many_{number}__csv": HEADER + content})

    def run(scheduler: str) -> tuple[object, list[str]]:
        result, _ = extract(tmp_path, data_file="data/many", rows_per_part=50, dask_scheduler=scheduler)
        manifest = json.loads((tmp_path / "runs/demo/extract/manifest.json").read_text())
        return result, [record["sha256"] for record in manifest["outputs"]]

    assert run("tcp://scheduler:8786") == run("")


def test_faults_of_all_files_are_reported_together_in_the_order_of_the_files(tmp_path):
    put(
        tmp_path,
        many_a__csv=HEADER + "A,abc,1,x\n",
        many_b__csv=HEADER + "B,1,1,x\n",
        many_c__csv__gz=HEADER + "C,1\n,1,-1,x\n",
    )
    with pytest.raises(DataError, match=r"^a\.csv row 2: BALANCE is 'abc', expected a number; 4 faults \("):
        extract(tmp_path, data_file="data/many")
    rows = (tmp_path / "runs/demo/extract/faults.csv").read_text().splitlines()
    assert rows == [
        "file,row,column,value,expected",
        "a.csv,2,BALANCE,'abc',a number",
        "c.csv.gz,2,,2 fields,4 fields",
        "c.csv.gz,3,CUST_ID,empty,an id for every customer",
        "c.csv.gz,3,PURCHASES,-1,no negative number",
    ]


def test_a_run_that_is_repeated_after_a_fault_leaves_no_faults(tmp_path):
    put(tmp_path, file__csv=HEADER + "A,abc,1,x\n")
    with pytest.raises(DataError):
        extract(tmp_path)
    put(tmp_path, file__csv=HEADER + "A,1,1,x\n")
    extract(tmp_path)
    names = sorted(path.name for path in (tmp_path / "runs/demo/extract").iterdir())
    assert names == [".lock", "customers.pkl", "manifest.json"]
