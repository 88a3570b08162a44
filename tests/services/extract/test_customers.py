from functools import partial
from unittest.mock import Mock

import duckdb
import pandas as pd
import pytest

from stagekit.errors import DataError
from stagekit.tables import duckdb_reader
from tests.services.extract.runs import FEATURES, extract, extract_file

HEADER = "CUST_ID,BALANCE,PURCHASES,TENURE\n"


@pytest.fixture
def read(tmp_path):
    return partial(extract_file, volume=tmp_path)


def test_blanks_around_an_id_do_not_make_another_customer(read):
    assert read(HEADER + "A ,1,2,12\nA,3,4,12\n").to_dict("list") == {
        "CUST_ID": ["A"],
        "BALANCE": [3.0],
        "PURCHASES": [4.0],
        "TENURE": [12.0],
    }


def test_a_missing_value_in_the_last_column_is_no_short_row(read):
    frame = read(HEADER + "A,1,2,\nB,1,2,12\n")
    assert frame["TENURE"].isna().tolist() == [True, False]


def test_a_table_without_rows_is_refused(read):
    with pytest.raises(DataError, match="has a header and no rows"):
        read(HEADER)


@pytest.fixture
def no_strict_reader(monkeypatch):
    def fail(*_: object) -> None:
        pytest.fail("the strict reader was needed")

    monkeypatch.setattr(duckdb_reader, "_load_strictly", fail)


def test_duckdb_and_the_strict_reader_read_the_same(read, monkeypatch):
    content = HEADER + "".join(f"{i:04d},{i * 1.37:.6f},{'' if i % 7 == 0 else i},{i % 13}\n" for i in range(200))
    fast = read(content)
    monkeypatch.setattr(duckdb_reader, "load_with_duckdb", Mock(side_effect=duckdb.InvalidInputException("not tried")))
    pd.testing.assert_frame_equal(read(content), fast)


@pytest.mark.parametrize(
    "rows",
    ["A,1,,12\nB,-3,2,12\n", "A,1,2,\nB,NA,2,12\n", "A_1,1,2,12\nB,1,2,12", ' A ,+1, 2.,"3"\n', '"A""x"",y\nz",1,2,3\n'],
)
def test_an_ordinary_table_is_read_by_duckdb_alone(read, no_strict_reader, rows):
    read(HEADER + rows)


def test_numbers_are_those_that_python_reads_to_the_last_bit(read, no_strict_reader):
    texts = [
        "0.1",
        "1e-320",
        "123456789012345.67",
        "0.30000000000000004",
        "900719925474099.3",
        ".1e+3",
        "2.2250738585072011e-308",
    ]
    frame = read(HEADER + "".join(f"{text},{text},1,1\n" for text in texts))
    assert frame["BALANCE"].tolist() == [float(text) for text in texts]


def test_of_a_customer_who_comes_twice_the_last_row_is_kept(tmp_path):
    frame = extract_file(HEADER + "A,1,2,12\nB,2,2,12\nA,3,2,12\n", tmp_path)
    assert frame[["CUST_ID", "BALANCE"]].to_dict("list") == {"CUST_ID": ["B", "A"], "BALANCE": [2.0, 3.0]}


def test_without_ids_every_row_is_a_customer(read):
    assert read("BALANCE,PURCHASES\n1,1\n1,1\n")["BALANCE"].tolist() == [1.0, 1.0]


def test_only_columns_with_missing_values_are_counted_after_duplicates_are_gone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text(HEADER + "A,1,,12\nB,,2,12\nA,3,2,12\n")
    result, _ = extract(tmp_path)
    assert result == {"rows_read": 3, "duplicates_dropped": 1, "customers": 2, "missing": {"BALANCE": 1}}


def test_unused_columns_can_be_left_out_and_are_not_parsed(read):
    content = HEADER + "A,1,2,twelve\nB,3,4,12\n"
    with pytest.raises(DataError, match="TENURE is 'twelve'"):
        read(content)
    assert list(read(content, keep_columns="used")) == ["CUST_ID", *FEATURES]
    assert list(read(HEADER + "A,1,2,12\n", keep_columns="used", group_column="TENURE")) == ["CUST_ID", *FEATURES, "TENURE"]


@pytest.mark.parametrize("rows", ["A,1,2,12\nB,1,2\nC,1,2,3,4\n", "A,1,2,12\nB,1,2,12,\n", "A,1,2,12\nB,1,2\n"])
def test_a_row_of_another_length_is_reported_although_its_columns_are_left_out(read, rows):
    with pytest.raises(DataError, match=r"row 3: . fields instead of 4"):
        read(HEADER + rows, keep_columns="used")


def test_columns_whose_names_differ_only_in_case_are_different_columns(read):
    frame = read('balance,BALANCE,"the ""x"", y",PURCHASES\na,1,b,2\n')
    assert frame.to_dict("list") == {"balance": ["a"], "BALANCE": [1.0], 'the "x", y': ["b"], "PURCHASES": [2.0]}


def test_ids_may_have_another_name_and_are_renamed_to_cust_id(read):
    content = "BALANCE,customer_id,PURCHASES\n1,A,2\n3,A,4\n"
    assert read(content, id_column="customer_id").to_dict("list") == {"BALANCE": [3.0], "CUST_ID": ["A"], "PURCHASES": [4.0]}
    assert list(read(content, id_column="customer_id", keep_columns="used")) == ["BALANCE", "CUST_ID", "PURCHASES"]
    with pytest.raises(DataError, match=r"column 'customer_nr' is missing; is 'customer_id' meant\?"):
        read(content, id_column="customer_nr")
    with pytest.raises(DataError, match="'CUST_ID' is present beside the id column 'customer_id'"):
        read("CUST_ID," + content, id_column="customer_id")


def test_a_table_without_cust_id_is_read_with_a_warning_that_names_what_the_ids_may_be(read, caplog):
    assert read("BALANCE,customer_id,PURCHASES\n1,A,2\n3,A,4\n")["customer_id"].tolist() == ["A", "A"]
    assert (
        "no column CUST_ID: each row is a customer; name the column of ids with --id-column (is it 'customer_id'?)"
        in caplog.text
    )


def test_a_table_with_semicolons_and_decimal_commas_is_read_with_the_flags_that_its_rejection_names(read, no_strict_reader):
    content = "CUST_ID;BALANCE;PURCHASES\nA;1,5;2\nB;-,5;1e3\n"
    with pytest.raises(DataError, match=r"by ';': save it with commas, or use --delimiter ';' --decimal ','$"):
        read(content)
    frame = read(content, delimiter=";", decimal=",")
    assert frame[[*FEATURES]].to_numpy().tolist() == [[1.5, 2.0], [-0.5, 1000.0]]


@pytest.mark.parametrize(
    ("content", "settings", "complaint"),
    [
        ("CUST_ID;BALANCE;PURCHASES\nA;1.5;2\n", {}, r"or use --delimiter ';'$"),
        ("CUST_ID\tBALANCE\tPURCHASES\nA\t1,5\t2\n", {}, r"or use --delimiter tab --decimal ','$"),
        ("CUST_ID,BALANCE,PURCHASES\nA,1,2\n", {"delimiter": "|"}, r"is separated by ',': use --delimiter ','$"),
        (
            "CUST_ID;BALANCE;PURCHASES\nA;1,5;2\n",
            {"delimiter": ";"},
            r"BALANCE is '1,5', .* decimal point \(or use --decimal ','\)$",
        ),
        (
            "CUST_ID;BALANCE;PURCHASES\nA;1.5;2\n",
            {"delimiter": ";", "decimal": ","},
            r"decimal comma \(or use --decimal '\.'\)$",
        ),
        ("CUST_ID;BALANCE;PURCHASES\nA;1.234,5;2\n", {"delimiter": ";", "decimal": ","}, r"is '1\.234,5', expected a number$"),
    ],
)
def test_a_table_in_another_format_than_configured_is_rejected_with_the_setting(read, content, settings, complaint):
    with pytest.raises(DataError, match=complaint):
        read(content, **settings)
