"""What a customer table has to look like, and a reader that says exactly where one does not.

The reader is plain Python: it defines what is right and names file, column, row and value where something is wrong. Stages that
read millions of rows use pandas and come back to it whenever pandas finds anything odd.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from services.contract.errors import DataError

CUSTOMER_ID = "CUST_ID"

NUMERIC_COLUMNS = (
    "BALANCE",
    "BALANCE_FREQUENCY",
    "PURCHASES",
    "ONEOFF_PURCHASES",
    "INSTALLMENTS_PURCHASES",
    "CASH_ADVANCE",
    "PURCHASES_FREQUENCY",
    "ONEOFF_PURCHASES_FREQUENCY",
    "PURCHASES_INSTALLMENTS_FREQUENCY",
    "CASH_ADVANCE_FREQUENCY",
    "CASH_ADVANCE_TRX",
    "PURCHASES_TRX",
    "CREDIT_LIMIT",
    "PAYMENTS",
    "MINIMUM_PAYMENTS",
    "PRC_FULL_PAYMENT",
    "TENURE",
)
"""The known columns of a credit-card table besides CUST_ID; a table may have others."""

MAY_BE_NEGATIVE = frozenset({"BALANCE"})  # a customer who has paid too much has a credit
LARGEST_NUMBER = 1e15  # beyond it a float cannot tell one cent from the next

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""What stands for a missing number; in a text column only an empty cell does."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLOCK = 1 << 24  # bytes at a time
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

Row = dict[str, str | float | None]


def numeric_columns(header: Collection[str], feature_columns: Collection[str]) -> list[str]:
    """Tell which columns of a table have to hold numbers: the known ones and the features."""
    return [column for column in header if column in NUMERIC_COLUMNS or column in feature_columns]


def read_header(path: Path, feature_columns: Collection[str]) -> list[str]:
    """Read the column names; raises DataError where a feature is missing or a name stands twice."""
    with Lines(path) as lines:
        header = next(_records(lines), (1, []))[1]
    name = path.name
    if not header:
        raise DataError(f"{name} is empty: expected a header with {', '.join(feature_columns)}")
    if "" in header:
        raise DataError(f"{name} row 1: column {header.index('') + 1} has no name: name it or remove it")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{name} row 1: column {twice[0]!r} stands twice: leave one of them")
    for column in feature_columns:
        if column in header:
            continue
        if len(header) == 1 and (other := re.search("[;\t|]", header[0])):
            raise DataError(f"{name} is separated by {other[0]!r}: save it with commas")
        close = difflib.get_close_matches(column, header, n=1)
        hint = f"is {close[0]!r} meant?" if close else f"it has {', '.join(map(repr, header[:30]))}"
        raise DataError(f"{name} row 1: column {column!r} is missing; {hint}")
    return header


def read_rows(path: Path, feature_columns: Collection[str]) -> Iterator[Row]:
    """Read a table row by row: numbers as float or None where missing, everything else as text.

    Raises DataError at the first cell or row that is not right.
    """
    header = read_header(path, feature_columns)
    with Lines(path, find_first_row(path)) as lines:
        yield from read_on(lines, header, header, numeric_columns(header, feature_columns))


def find_first_row(path: Path) -> int:
    """Find the byte that follows the header."""
    with Lines(path) as lines:
        next(_records(lines), None)
        return lines.position


def read_on(lines: Lines, header: Sequence[str], columns: Collection[str], numeric: Collection[str]) -> Iterator[Row]:
    """Read the given columns from some row on, as `read_rows` does; `numeric` are the names of those that hold numbers."""
    name = lines.path.name
    for line, record in _records(lines):
        where = f"{name} row {line}"
        if len(record) != len(header):
            raise DataError(f"{where}: {len(record)} fields instead of {len(header)}, it begins with {record[0][:40]!r}")
        row: Row = {}
        for column, text in zip(header, record, strict=True):
            if column not in columns:
                continue
            if column in numeric:
                row[column] = _number(text, column, where)
            elif column == CUSTOMER_ID:
                row[column] = _customer_id(text, where)
            else:
                row[column] = text or None
        yield row


def _number(text: str, column: str, where: str) -> float | None:
    text = text.strip()
    if text in MISSING:
        return None
    if not _NUMBER.fullmatch(text):
        hint = " with a decimal point" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
        raise DataError(f"{where}: {column} is {text[:40]!r}, expected a number{hint}")
    value = float(text)
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise DataError(f"{where}: {column} is {text[:40]}, expected a number between ±{LARGEST_NUMBER:.0e}")
    if value < 0 and column in NUMERIC_COLUMNS and column not in MAY_BE_NEGATIVE:
        raise DataError(f"{where}: {column} is {text[:40]}, expected no negative number")
    return value


def _customer_id(text: str, where: str) -> str:
    if not text.strip():
        raise DataError(f"{where}: {CUSTOMER_ID} is empty: every customer needs one")
    return text.strip()


class Lines:
    """The lines of a CSV file from some byte on, the first one of a row; knows how far they have been read."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path = path
        self.position = start
        self.number = 0
        """Of the line that was read last, from 1."""

    def __enter__(self) -> Lines:
        self._file = self.path.open("rb")
        for block in _blocks(self._file, self.position):
            self.number += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        for block in self._file:
            # A lone carriage return ends a line too.
            for line in _LINE.findall(block) if b"\r" in block.removesuffix(b"\r\n") else [block]:
                encoding = "utf-8-sig" if self.position == 0 else "utf-8"
                self.position += len(line)
                self.number += 1
                try:
                    yield line.decode(encoding)
                except UnicodeDecodeError as error:
                    byte = error.object[error.start]
                    raise DataError(
                        f"{self.path.name} row {self.number}: byte 0x{byte:02x} is not UTF-8: save the file as CSV in UTF-8"
                    ) from None


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    """Read so many bytes, some at a time, and no two that belong together apart."""
    while length and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        if length and block.endswith(b"\r"):
            block += file.read(1)
            length -= 1
        yield block


def _records(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line of the file in which it begins."""
    name = lines.path.name
    line = lines.number + 1
    try:
        for record in csv.reader(lines, strict=True):
            if any("\0" in field for field in record):
                raise DataError(f"{name} row {line}: a zero byte: save the file as UTF-8 (is it UTF-16?)")
            if record and not (len(record) == 1 and record[0].isspace()):
                yield line, record
            line = lines.number + 1
    except csv.Error as error:
        raise DataError(f"{name} row {line}: {error}: is a quote left open?") from None
