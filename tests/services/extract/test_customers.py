import pandas as pd
import pytest

from services.contract.errors import DataError
from services.extract import customers
from services.extract.customers import count_missing, keep_last, read_customers

FEATURES = ["BALANCE", "PURCHASES"]
HEADER = "CUST_ID,BALANCE,PURCHASES,TENURE\n"


@pytest.fixture
def read(tmp_path):
    def read_text(content: str | bytes) -> pd.DataFrame:
        path = tmp_path / "file.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_customers(path, FEATURES)

    return read_text


def test_numbers_are_floats_and_ids_stay_text(read):
    frame = read(HEADER + "007,1,2.5,12\n8e3,3,,12\n")
    assert list(frame["CUST_ID"]) == ["007", "8e3"]
    assert list(frame["BALANCE"]) == [1.0, 3.0]
    assert frame["PURCHASES"].isna().tolist() == [False, True]


def test_a_customer_may_be_called_na(read):
    assert read(HEADER + "NA,1,2,12\n")["CUST_ID"].tolist() == ["NA"]


def test_the_words_for_a_missing_number_mean_just_that(read):
    assert read(HEADER + "A,NA,NULL,12\nB,nan,None,12\n")[FEATURES].isna().all(axis=None)


def test_blanks_around_an_id_do_not_make_another_customer(read):
    assert read(HEADER + "A ,1,2,12\nA,3,4,12\n")["CUST_ID"].tolist() == ["A", "A"]


def test_a_missing_value_in_the_last_column_is_no_short_row(read):
    frame = read(HEADER + "A,1,2,\nB,1,2,12\n")
    assert frame["TENURE"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("A,1,2\nB,1,2,12\n", "row 2: 3 fields instead of 4"),
        ("A,1,2,12\nB,1,2,12,9\n", "row 3: 5 fields instead of 4"),
        ("A,1,2,12\nB,1,2,12,9,9\n", "row 3: 6 fields instead of 4"),
        ("A,1,2,12,\n", "row 2: 5 fields instead of 4"),
        ("A,1,2,12\nB,abc,2,12\n", "row 3: BALANCE is 'abc', expected a number"),
        ("A,1,2,12\nB,1e400,2,12\n", "row 3: BALANCE is 1e400"),
        ("A,1,2,12\nB,-1e308,2,12\n", "row 3: BALANCE is -1e308"),
        ("A,1,2,12\nB,inf,2,12\n", "row 3: BALANCE is 'inf'"),
        ("A,1,2,12\nB,1,-2,12\n", "row 3: PURCHASES is -2, expected no negative number"),
        ("A,1,2,12\n,1,2,12\n", "row 3: CUST_ID is empty"),
        ('A,1,2,12\n"B,1,2,12\n', "row 3: unexpected end of data: is a quote left open"),
        ("", "has a header and no rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(read, rows, complaint):
    with pytest.raises(DataError, match=complaint):
        read(HEADER + rows)


def test_pandas_and_the_strict_reader_read_the_same(read, monkeypatch):
    content = HEADER + "".join(f"{i:04d},{i * 1.37:.6f},{'' if i % 7 == 0 else i},{i % 13}\n" for i in range(200))
    fast = read(content)
    monkeypatch.setattr(customers, "_read_fast", lambda *_: None)
    pd.testing.assert_frame_equal(read(content), fast)


def test_a_good_table_is_read_by_pandas_alone(tmp_path):
    path = tmp_path / "file.csv"
    path.write_text(HEADER + "A,1,,12\nB,-3,2,12\n")
    assert customers._read_fast(path, HEADER.strip().split(","), FEATURES) is not None


def test_of_a_customer_who_comes_twice_the_last_row_is_kept():
    rows = pd.DataFrame({"CUST_ID": ["A", "B", "A"], "BALANCE": [1.0, 2.0, 3.0]})
    kept = keep_last(rows)
    assert kept.to_dict("list") == {"CUST_ID": ["B", "A"], "BALANCE": [2.0, 3.0]}
    assert len(rows) == 3


def test_without_ids_every_row_is_a_customer():
    rows = pd.DataFrame({"BALANCE": [1.0, 1.0]})
    assert keep_last(rows) is rows


def test_only_columns_with_missing_values_are_counted():
    rows = pd.DataFrame({"BALANCE": [1.0, None], "PURCHASES": [1.0, 2.0]})
    assert count_missing(rows) == {"BALANCE": 1}
