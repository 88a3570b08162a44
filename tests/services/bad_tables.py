"""Customer tables as they come: what is wrong with each has to be named, what is only unusual has to be read right.

Extract's two readers, that of the new customers and scoring are tried with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FEATURES = ("BALANCE", "PURCHASES", "CREDIT_LIMIT")

HEADER = "CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n"
ANN = ("Ann", 1.0, 2.0, 3.0)
BOB = ("Bob", 40.0, 5.0, 6.0)
BOTH = (ANN, BOB)


class Table(NamedTuple):
    """The bytes of a file, and the expected outcome."""

    name: str
    content: bytes
    complaint: str = ""
    """The line of the failure (65), as a regular expression; empty if the table is valid."""
    rows: Sequence[tuple[str | None, ...] | tuple[str, float | None, float | None, float | None]] = BOTH
    """CUST_ID and the features of each row, if the table is valid."""


def wrong(name: str, content: str | bytes, complaint: str) -> Table:
    return Table(name, content if isinstance(content, bytes) else content.encode(), complaint)


def right(name: str, content: str | bytes, rows: Sequence[tuple] = BOTH) -> Table:
    return Table(name, content if isinstance(content, bytes) else content.encode(), rows=rows)


def _cell(name: str, text: str, complaint: str) -> Table:
    """A table with one wrong number, in its third row."""
    return wrong(name, f"{HEADER}Ann,1,2,3\nBob,40,{text},6\n", rf"row 3: PURCHASES is {complaint}")


GOOD = HEADER + "Ann,1,2,3\nBob,40,5,6\n"

# What is wrong as a file, or with its header.
WRONG_FILES = (
    wrong("empty", "", "is empty: expected a header"),
    wrong("only a byte order mark", "\ufeff", "is empty"),
    wrong("only blank lines", "\n\r\n\n", "is empty"),
    wrong("UTF-16", GOOD.encode("utf-16"), "row 1: byte 0xff is not UTF-8: save the file as CSV in UTF-8"),
    wrong("UTF-16 without a mark", GOOD.encode("utf-16-le"), r"row 1: a zero byte: .* \(is it UTF-16\?\)"),
    wrong("UTF-32", GOOD.encode("utf-32"), "row 1: byte 0xff is not UTF-8"),
    wrong("an Excel workbook", b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)), "row 1: a zero byte"),
    wrong("compressed", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "row 1: byte 0x8b is not UTF-8"),
    wrong("a web page", "<!doctype html>\n<html><body>Sign in</body></html>\n", "row 1: column 'BALANCE' is missing"),
    wrong("JSON", '[{"CUST_ID": "Ann", "BALANCE": 1}]', "row 1: (column|')"),
    wrong("a line for Excel first", "sep=,\n" + GOOD, "row 1: column 2 has no name"),
    wrong("semicolons", GOOD.replace(",", ";"), "is separated by ';': save it with commas"),
    wrong("tabs", GOOD.replace(",", "\t"), r"is separated by '\\t': save it with commas"),
    wrong("bars", GOOD.replace(",", "|"), r"is separated by '\|': save it with commas"),
    wrong("no header", "Ann,1,2,3\nBob,40,5,6\n", "row 1: column 'BALANCE' is missing; it has 'Ann', '1', '2', '3'"),
    wrong("a column missing", "CUST_ID,BALANCE,PURCHASES\nAnn,1,2\n", "row 1: column 'CREDIT_LIMIT' is missing"),
    wrong(
        "a column renamed", GOOD.replace("CREDIT_LIMIT", "CREDIT LIMIT"), "'CREDIT_LIMIT' is missing; is 'CREDIT LIMIT' meant"
    ),
    wrong("a column in lower case", GOOD.replace("BALANCE", "balance"), "row 1: column 'BALANCE' is missing"),
    wrong("blanks in the header", GOOD.replace(",BALANCE", ", BALANCE"), "'BALANCE' is missing; is ' BALANCE' meant"),
    wrong("a column twice", GOOD.replace("PURCHASES", "BALANCE"), "row 1: column 'BALANCE' occurs twice"),
    wrong(
        "the id twice", HEADER.replace("BALANCE", "CUST_ID,BALANCE") + "Ann,Ann,1,2,3\n", "row 1: column 'CUST_ID' occurs twice"
    ),
    wrong("a column without a name", ",CUST_ID,BALANCE,PURCHASES,CREDIT_LIMIT\n0,Ann,1,2,3\n", "row 1: column 1 has no name"),
    wrong("a quote left open in the header", GOOD.replace("BALANCE", '"BALANCE'), r"row 1: .*: is a quote left open\?"),
)

# What is wrong in a row.
WRONG_ROWS = (
    wrong("Latin-1 in a cell", GOOD.encode() + "Zoé,1,2,3\n".encode("latin-1"), "row 4: byte 0xe9 is not UTF-8"),
    wrong("a zero byte in a number", HEADER + "Ann,1\0,2,3\n", "row 2: a zero byte"),
    wrong("a zero byte in an id", GOOD + "C\0,1,2,3\n", "row 4: a zero byte"),
    wrong("a quote left open", GOOD + '"Cid,1,2,3\nDan,1,2,3\nEve,1,2,3\n', r"row 4: .*: is a quote left open\?"),
    wrong("a quote left open in the first row", HEADER + 'Ann,1,2,"3\nBob,40,5,6\n', r"row 2: .*: is a quote left open\?"),
    wrong("a quote closed too late", GOOD + '"Cid,1,2,3\n"Dan",1,2,3\n', r"row 4: .*: is a quote left open\?"),
    wrong("a quote closed too early", GOOD + '"Ci"d,1,2,3\n', r"row 4: .*: is a quote left open\?"),
    wrong("a number with a quote closed too early", GOOD + 'Cid,"1"2,2,3\n', r"row 4: .*: is a quote left open\?"),
    wrong("an empty quote before an id", GOOD + '""Cid,1,2,3\n', r"row 4: .*: is a quote left open\?"),
    wrong("a quote escaped with a backslash", GOOD + '"C\\"id",1,2,3\n', r"row 4: "),
    wrong("a short row", GOOD + "Cid,1,2\n", "row 4: 3 fields instead of 4, it begins with 'Cid'"),
    wrong("a short row first", HEADER + "Ann,1,2\nBob,40,5,6\n", "row 2: 3 fields instead of 4"),
    wrong("a long row", GOOD + "Cid,1,2,3,4\n", "row 4: 5 fields instead of 4"),
    wrong("a long row first", HEADER + "Ann,1,2,3,4\nBob,40,5,6\n", "row 2: 5 fields instead of 4"),
    wrong("all rows too long by one", HEADER + "Ann,1,2,3,4\nBob,40,5,6,7\n", "row 2: 5 fields instead of 4"),
    wrong("all rows too short by one", HEADER + "Ann,1,2\nBob,40,5\n", "row 2: 3 fields instead of 4"),
    wrong("a comma at the end of each row", HEADER + "Ann,1,2,3,\nBob,40,5,6,\n", "row 2: 5 fields instead of 4"),
    wrong("a row of commas", GOOD + ",,,\n", "row 4: CUST_ID is empty"),
    wrong("an end-of-file mark", GOOD + "\x1a", "row 4: 1 fields instead of 4"),
    wrong("a remark", "# exported today\n" + GOOD, "row 1: column 'BALANCE' is missing"),
    wrong("an id that is empty", HEADER + "Ann,1,2,3\n,1,2,3\n", "row 3: CUST_ID is empty"),
    wrong("an id of blanks", HEADER + "Ann,1,2,3\n  ,1,2,3\n", "row 3: CUST_ID is empty"),
    wrong("an unquoted decimal comma", HEADER + "Ann,1,2,3\nBob,40,5,5,6\n", "row 3: 5 fields instead of 4"),
    wrong("a huge field", GOOD + "C" * 200_000 + ",1,2,3\n", "row 4: field larger than field limit"),
    _cell("text in a number", "five", "'five', expected a number"),
    _cell("a decimal comma", '"5,5"', "'5,5', expected a number with a decimal point"),
    _cell("a comma between thousands", '"5,000.00"', "'5,000.00', expected a number"),
    _cell("an apostrophe between thousands", "5'000", '"5\'000", expected a number'),
    _cell("a currency", "$5", r"'\$5', expected a number"),
    _cell("a percentage", "5%", "'5%', expected a number"),
    _cell("a date", "2026-01-05", "'2026-01-05', expected a number"),
    _cell("a truth value", "True", "'True', expected a number"),
    _cell("a formula", "=4+1", r"'=4\+1', expected a number"),
    _cell("a number of another base", "0x10", "'0x10', expected a number"),
    _cell("a number with an underscore", "1_0", "'1_0', expected a number"),
    _cell("digits of another script", "٥", "'٥', expected a number"),
    _cell("a minus sign of typesetters", "\u22125", "'\u22125', expected a number"),
    _cell("half an exponent", "5e", "'5e', expected a number"),
    _cell("two points", "5.0.0", r"'5\.0\.0', expected a number"),
    _cell("two numbers", "5 5", "'5 5', expected a number"),
    _cell("beyond a float", "1e400", r"1e400, expected a number between ±1e\+15"),
    _cell("hardly within a float", "1e308", r"1e308, expected a number between ±1e\+15"),
    _cell("more digits than count", "9" * 400, "9{40}, expected a number between"),
    wrong("far below zero", HEADER + "Ann,1,2,3\nBob,-1e308,5,6\n", r"row 3: BALANCE is -1e308, expected a number between"),
    _cell("infinity", "inf", "'inf', expected a number"),
    _cell("infinity in full", "-Infinity", "'-Infinity', expected a number"),
    _cell("a negative amount", "-5", "-5, expected no negative number"),
)

# What looks odd and is right.
RIGHT = (
    right("as it should be", GOOD),
    right("a byte order mark", "\ufeff" + GOOD),
    right("line ends of Windows", GOOD.replace("\n", "\r\n")),
    right("line ends of old Macs", GOOD.replace("\n", "\r")),
    right("no line end at the end", GOOD.rstrip("\n")),
    right("blank lines", HEADER + "\nAnn,1,2,3\n\n \t\nBob,40,5,6\n\n"),
    right("everything quoted", '"CUST_ID","BALANCE","PURCHASES","CREDIT_LIMIT"\n"Ann","1","2","3"\n"Bob","40","5","6"\n'),
    right("other columns and order", "CREDIT_LIMIT,X,CUST_ID,PURCHASES,BALANCE\n3,a,Ann,2,1\n6,,Bob,5,40\n"),
    right("blanks around", HEADER + " Ann , 1 , 2 , 3 \nBob,40,5, 6\n"),
    right("numbers in other words", HEADER + "Ann,+1,2.,0.3e1\nBob,4E1,5.000,006\n"),
    right(
        "a missing value in every way",
        HEADER + "Ann,,NA,NULL\nBob,nan,None,\n",
        [("Ann", None, None, None), ("Bob", None, None, None)],
    ),
    right("a customer in credit", HEADER + "Ann,-1,2,3\n", [("Ann", -1.0, 2.0, 3.0)]),
    right("a negative zero", HEADER + "Ann,1,-0.0,3\n", [("Ann", 1.0, 0.0, 3.0)]),
    right(
        "ids that look like numbers",
        HEADER + "007,1,2,3\n8e3,1,2,3\n1.0,1,2,3\n",
        [(name, 1.0, 2.0, 3.0) for name in ("007", "8e3", "1.0")],
    ),
    right("ids that look missing", HEADER + "NA,1,2,3\nnull,1,2,3\n", [("NA", 1.0, 2.0, 3.0), ("null", 1.0, 2.0, 3.0)]),
    right("ids that differ in case", HEADER + "ann,1,2,3\nAnn,1,2,3\n", [("ann", 1.0, 2.0, 3.0), ANN]),
    right("an id with a comma, a quote and a line end", HEADER + '"A, ""n""\nn",1,2,3\n', [('A, "n"\nn', 1.0, 2.0, 3.0)]),
    right("a quote inside an id", HEADER + 'A"nn,1,2,3\n', [('A"nn', 1.0, 2.0, 3.0)]),
    right("ids of any script", HEADER + "Zoë,1,2,3\n顧客\u2028,1,2,3\n", [("Zoë", 1.0, 2.0, 3.0), ("顧客", 1.0, 2.0, 3.0)]),
    right("a single row", HEADER + "Ann,1,2,3\n", [ANN]),
)

TABLES = (*WRONG_FILES, *WRONG_ROWS, *RIGHT)
