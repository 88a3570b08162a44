import gzip

import pytest

from stagekit.errors import DataError
from stagekit.tables import strict_reader
from stagekit.tables.strict_reader import check_records, read_header, read_records, read_rows
from stagekit.tables.table_schema import KnownColumns, TableFormat, make_schema

FEATURES = ["BALANCE", "PURCHASES"]
HEADER = b"CUST_ID,BALANCE,PURCHASES\n"
FORMAT = TableFormat("CUST_ID", known=KnownColumns("CUST_ID", frozenset(FEATURES), frozenset({"PURCHASES"})))


@pytest.fixture
def read(tmp_path):
    def read_bytes(content: bytes):
        path = tmp_path / "file.csv"
        path.write_bytes(content)
        return list(read_rows(path, FEATURES, FORMAT))

    return read_bytes


def test_numbers_are_read_as_floats_missing_ones_as_none_and_the_rest_as_text(read):
    rows = read(b"CUST_ID,BALANCE,PURCHASES,CITY\n007,1.5,,Bern\nA,-2e1,NA,\n")
    assert rows == [
        {"CUST_ID": "007", "BALANCE": 1.5, "PURCHASES": None, "CITY": "Bern"},
        {"CUST_ID": "A", "BALANCE": -20.0, "PURCHASES": None, "CITY": None},
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER + b"A,1,2\n",
        HEADER.replace(b"\n", b"\r\n") + b"A,1,2\r\n",
        HEADER + b"A,1,2",
        HEADER + b"\nA,1,2\n\n",
        b'"CUST_ID","BALANCE","PURCHASES"\n"A","1","2"\n',
        HEADER + b" A , 1 , 2 \n",
    ],
    ids=["byte order mark", "CRLF", "no last line end", "blank lines", "quoted", "blanks around"],
)
def test_variants_that_programs_write_are_read_alike(read, content):
    assert read(content) == [{"CUST_ID": "A", "BALANCE": 1.0, "PURCHASES": 2.0}]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", r"file.csv is empty: expected a header"),
        (b"CUST_ID,BALANCE\nA,1\n", r"row 1: column 'PURCHASES' is missing; it has 'CUST_ID', 'BALANCE'"),
        (b"CUST_ID,BALANCES,PURCHASES\n", r"column 'BALANCE' is missing; is 'BALANCES' meant\?"),
        (b"CUST_ID,BALANCE,PURCHASES,\nA,1,2,\n", r"row 1: column 4 has no name: name it or remove it"),
        (b",BALANCE,PURCHASES\n0,1,2\n", r"row 1: column 1 has no name"),
        (b"CUST_ID,BALANCE,PURCHASES,BALANCE\n", r"row 1: column 'BALANCE' occurs twice"),
        (b"CUST_ID;BALANCE;PURCHASES\n", r"separated by ';': save it with commas, or use --delimiter ';'$"),
        (b"CUST_ID\tBALANCE\tPURCHASES\n", r"separated by '\\t'"),
        (HEADER + b"A,abc,2\n", r"file.csv row 2: BALANCE is 'abc', expected a number"),
        (HEADER + b'A,1,2\nB,"1,5",2\n', r"row 3: BALANCE is '1,5', expected a number with a decimal point"),
        (HEADER + b"A,1_0,2\n", r"BALANCE is '1_0', expected a number"),
        (HEADER + "A,١,2\n".encode(), r"expected a number"),
        (HEADER + b"A,1e400,2\n", r"BALANCE is 1e400, expected a number between"),
        (HEADER + b"A,1e308,2\n", r"BALANCE is 1e308, expected a number between"),
        (HEADER + b"A,inf,2\n", r"BALANCE is 'inf', expected a number"),
        (HEADER + b"A,1,-2\n", r"row 2: PURCHASES is -2, expected no negative number"),
        (HEADER + b"A,1,2,3\n", r"row 2: 4 fields instead of 3, it begins with 'A'"),
        (HEADER + b"A,1\n", r"row 2: 2 fields instead of 3"),
        (HEADER + b",1,2\n", r"row 2: CUST_ID is empty"),
        (HEADER + b'"A,1,2\nB,1,2\n', r"is a quote left open\?"),
        (HEADER + b"A,1,2\nM\xfcller,1,2\n", r"row 3: byte 0xfc is not UTF-8"),
        (HEADER.decode().encode("utf-16"), r"row 1: byte 0xff is not UTF-8: save the file as CSV in UTF-8"),
        (HEADER + b"A,1\x002,2\n", r"row 2: a zero byte"),
        (HEADER + b"A" * 200_000 + b",1,2\n", r"field larger than field limit"),
    ],
)
def test_faults_are_named_with_file_row_column_and_value(read, content, complaint):
    with pytest.raises(DataError, match=complaint):
        read(content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_are_numbered_by_lines_whatever_ends_them(read, end):
    lines = ["CUST_ID,BALANCE,PURCHASES", "", '"A', 'B",1,2', "", "C,x,2"]
    with pytest.raises(DataError, match=r"^file\.csv row 6: BALANCE is 'x'"):
        read(end.join(lines).encode())


@pytest.mark.parametrize("row", [b"A" * 300, b"A,1,2," * 100, b'"\n",' * 100, b'"' + b"A\n" * 300], ids=len)
def test_a_row_without_an_end_is_not_read_to_its_end(read, monkeypatch, row):
    monkeypatch.setattr(strict_reader, "MAX_ROW_LENGTH", 200)
    with pytest.raises(DataError, match=r"^file\.csv row 3: more than 200 characters in one row, expected line ends"):
        read(HEADER + b"A,1,2\n" + row)


def check(path):
    """Read a table to its end; returns the rows and the faults."""
    faults = []
    schema = make_schema(read_header(path, FEATURES, FORMAT), FEATURES, FORMAT)
    records = read_records(path, FORMAT, faults.append)
    return list(check_records(path.name, records, schema, faults.append)), faults


def test_all_faults_are_reported_and_the_rows_without_any_are_read(tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(
        HEADER + b"A,1,2\nB,abc,-2\nC,1\nD\xe9,1,2\nE,1\x000,2\n\nF,1e99,\n,3,4\n" + b'"G"x,1,2\nH,5,6\n"I,1,2\nJ,1,2\n'
    )
    rows, faults = check(path)
    assert rows == [["A", 1.0, 2.0], ["H", 5.0, 6.0]]
    assert [fault[1:5] for fault in faults] == [
        (3, "BALANCE", "'abc'", "a number"),
        (3, "PURCHASES", "-2", "no negative number"),
        (4, "", "2 fields", "3 fields"),
        (5, "", "byte 0xe9", "text in UTF-8"),
        (6, "", "a zero byte", "text"),
        (8, "BALANCE", "1e99", "a number between ±1e+15"),
        (9, "CUST_ID", "empty", "an id for every customer"),
        (10, "", "',' expected after '\"'", "quotes that are closed"),
        (12, "", "unexpected end of data", "quotes that are closed"),
    ]


def test_a_packed_table_reads_as_an_unpacked_one_and_damage_is_named(tmp_path):
    path = tmp_path / "file.csv.gz"
    content = gzip.compress(HEADER + b"A,1,2\n") + gzip.compress(b"B,3,4\n")
    path.write_bytes(content)
    assert check(path) == ([["A", 1.0, 2.0], ["B", 3.0, 4.0]], [])
    path.write_bytes(content[:-12])
    with pytest.raises(DataError, match=r"^file\.csv\.gz cannot be unpacked"):
        check(path)
