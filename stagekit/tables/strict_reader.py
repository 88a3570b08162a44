"""What a customer table has to look like, and a reader that names every fault.

The reader is plain Python: it defines what is valid and names file, row, column and value of everything else. `database.py`
reads tables with DuckDB, and comes back to this reader if DuckDB finds anything unusual in a file.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from stagekit.errors import DataError
from stagekit.tables.faults import Fault, Report, raise_fault

CUSTOMER_ID = "CUST_ID"
"""What the column of ids is called in all that the stages write, whatever it is called in a table."""

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

MAX_ROW_LENGTH = 1 << 22  # characters
DELIMITERS = {",": ",", ";": ";", "tab": "\t", "|": "|"}
"""By the names that settings give them."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how "surrogateescape" marks the bytes
_PEEK_BYTES = 1 << 16
_ZERO_BYTE = "a zero byte: save the file as UTF-8 (is it UTF-16?)"

Row = dict[str, str | float | None]
Cell = str | float | None


class TableFormat(NamedTuple):
    """How a user's table is written."""

    id_column: str = CUSTOMER_ID
    delimiter: str = ","
    decimal: str = "."


DEFAULT_FORMAT = TableFormat()


class Schema(NamedTuple):
    """The columns of a customer table."""

    header: tuple[str, ...]
    """Names in the file."""
    kept: tuple[int, ...]
    """Positions of the columns to keep."""
    numeric: frozenset[str]
    """Names of the columns that hold numbers."""
    format: TableFormat = DEFAULT_FORMAT

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the kept columns in all that the stages write."""
        names = (self.header[position] for position in self.kept)
        return tuple(CUSTOMER_ID if name == self.format.id_column else name for name in names)


class _CellError(ValueError):
    """A cell that is not as expected: value and expectation."""


class _RowTooLongError(Exception):
    pass


def numeric_columns(
    header: Iterable[str], feature_columns: Collection[str], table_format: TableFormat = DEFAULT_FORMAT
) -> frozenset[str]:
    """Name the columns of a table that have to hold numbers: the known ones and the features."""
    return frozenset({*NUMERIC_COLUMNS, *feature_columns}.intersection(header) - {table_format.id_column})


def lowest_number(column: str) -> float:
    """Return the smallest valid number of a column."""
    return 0.0 if column in NUMERIC_COLUMNS and column not in MAY_BE_NEGATIVE else -LARGEST_NUMBER


def read_header(path: Path, feature_columns: Collection[str], table_format: TableFormat = DEFAULT_FORMAT) -> list[str]:
    """Read the column names of a CSV file; raises DataError if a feature is missing or a name is duplicated."""
    header = next(_records(path, table_format, raise_fault), (1, []))[1]
    if any("\0" in name for name in header):
        raise DataError(f"{path.name} row 1: {_ZERO_BYTE}")
    if not header:
        raise DataError(f"{path.name} is empty: expected a header with {', '.join(feature_columns)}")
    is_single = len(header) == 1 and header[0] not in feature_columns
    if is_single and (other := re.search("[,;\t|]", header[0])) and other[0] != table_format.delimiter:
        remedy = "use" if other[0] == "," else "save it with commas, or use"
        raise DataError(f"{path.name} is separated by {other[0]!r}: {remedy} {_flags(path, other[0])}")
    check_header(f"{path.name} row 1", header, feature_columns, table_format)
    return header


def check_header(where: str, header: list[str], feature_columns: Collection[str], table_format: TableFormat) -> None:
    """Raise DataError if a name is missing, empty or duplicated."""
    if "" in header:
        raise DataError(f"{where}: column {header.index('') + 1} has no name: name it or remove it")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{where}: column {twice[0]!r} stands twice: leave one of them")
    id_column = table_format.id_column
    needed = feature_columns if id_column == CUSTOMER_ID else (*feature_columns, id_column)
    for column in needed:
        if column in header:
            continue
        close = difflib.get_close_matches(column, header, n=1)
        hint = f"is {close[0]!r} meant?" if close else f"it has {', '.join(map(repr, header[:30]))}"
        raise DataError(f"{where}: column {column!r} is missing; {hint}")
    if id_column != CUSTOMER_ID and CUSTOMER_ID in header:
        raise DataError(f"{where}: {CUSTOMER_ID!r} stands beside the id column {id_column!r}: rename or remove one of them")


def _flags(path: Path, separator: str) -> str:
    """Name the flags with which a file can be read that is separated by something else."""
    with _named_damage(path), _open(path) as file:
        rows = re.split(rb"[\r\n]", file.read(_PEEK_BYTES), maxsplit=1)[-1]
    name = next(name for name, text in DELIMITERS.items() if text == separator)
    flags = f"--delimiter {name if name.isalnum() else repr(name)}"
    return f"{flags} --decimal ','" if separator != "," and re.search(rb"\d,\d", rows) else flags


def read_rows(path: Path, feature_columns: Collection[str], table_format: TableFormat = DEFAULT_FORMAT) -> Iterator[Row]:
    """Read a CSV file row by row: numbers as float or None if missing, everything else as text.

    Raises DataError at the first fault.
    """
    header = read_header(path, feature_columns, table_format)
    numeric = numeric_columns(header, feature_columns, table_format)
    schema = Schema(tuple(header), tuple(range(len(header))), numeric, table_format)
    for row in check_records(path.name, records_of(path, table_format, raise_fault), schema, raise_fault):
        yield dict(zip(schema.columns, row, strict=True))


def records_of(path: Path, table_format: TableFormat, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Read the records of a CSV file below its header, each with the line in which it begins."""
    records = _records(path, table_format, report)
    next(records, None)
    return records


def check_records(name: str, records: Iterable[tuple[int, list[str]]], schema: Schema, report: Report) -> Iterator[list[Cell]]:
    """Convert the kept cells of each record; a record with a fault is reported and left out.

    Parameters
    ----------
    name : of the file
    records : row number and cells
    """
    converters = [(position, schema.header[position], _converter(schema.header[position], schema)) for position in schema.kept]
    n_fields = len(schema.header)
    for row, record in records:
        if any("\0" in field for field in record):
            report(Fault(name, row, "", "a zero byte", "text", _ZERO_BYTE))
            continue
        if len(record) != n_fields:
            found = f"{len(record)} fields"
            begin = f"it begins with {record[0][:40]!r}"
            report(Fault(name, row, "", found, f"{n_fields} fields", f"{found} instead of {n_fields}, {begin}"))
            continue
        cells: list[Cell] = []
        for position, column, convert in converters:
            try:
                cells.append(convert(record[position]))
            except _CellError as error:
                value, expected = error.args
                report(Fault(name, row, column, value, expected, f"{column} is {value}, expected {expected}"))
        if len(cells) == len(converters):
            yield cells


def _converter(column: str, schema: Schema) -> Callable[[str], Cell]:
    if column == schema.format.id_column:
        return _customer_id
    if column not in schema.numeric:
        return lambda text: text or None
    lowest, decimal, delimiter = lowest_number(column), schema.format.decimal, schema.format.delimiter

    def convert(text: str) -> float | None:
        try:
            value = float(text if decimal == "." else _with_point(text))
        except ValueError:
            pass
        else:  # float() accepts 1_0 and digits of any script too
            if lowest <= value <= LARGEST_NUMBER and "_" not in text and text.isascii():
                return value
        return _number(text.strip(), lowest, decimal, delimiter)

    return convert


def _with_point(text: str) -> str:
    return text.replace(".", "x").replace(",", ".")


def _number(text: str, lowest: float, decimal: str, delimiter: str) -> float | None:
    if text in MISSING:
        return None
    with_point = text if decimal == "." else _with_point(text)
    if not _NUMBER.fullmatch(with_point):
        other = "." if decimal == "," else ","
        hint = f" with a decimal {'point' if decimal == '.' else 'comma'}"
        if not re.fullmatch(rf"[+-]?\d+{re.escape(other)}\d+", text):
            hint = ""
        elif other != delimiter:
            hint += f" (or use --decimal '{other}')"
        raise _CellError(repr(text[:40]), f"a number{hint}")
    value = float(with_point)
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise _CellError(text[:40], f"a number between ±{LARGEST_NUMBER:.0e}")
    if value < lowest:
        raise _CellError(text[:40], "no negative number")
    return value


def _customer_id(text: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise _CellError("empty", "an id for every customer")
    return stripped


def read_blocks(path: Path, n_bytes: int) -> Iterator[bytes]:
    """Read a file, unpacked if it is a .gz file, some bytes at a time; raises DataError if it is damaged."""
    with _named_damage(path), _open(path) as file:
        while block := file.read(n_bytes):
            yield block


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}: is it damaged, or no gzip file?") from None


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


class _Lines:
    """The lines of a CSV file; bytes that are not UTF-8 are reported."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self.number = 0
        """Of the line that was read last, from 1."""
        self.row_length = 0
        """How much was read since `begin_row`."""
        self.is_faulty = False

    def begin_row(self) -> int:
        self.row_length, self.is_faulty = 0, False
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        # newline="": a lone carriage return ends a line too, and line ends inside cells stay as they are.
        with (
            _named_damage(self._path),
            _open(self._path) as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
        ):
            while line := file.readline(MAX_ROW_LENGTH + 1):
                self.number += 1
                self.row_length += len(line)
                if self.row_length > MAX_ROW_LENGTH:
                    raise _RowTooLongError
                if not line.isascii() and (byte := _NOT_UTF8.search(line)):
                    self.is_faulty = True
                    found = f"byte 0x{ord(byte[0]) & 0xFF:02x}"
                    complaint = f"{found} is not UTF-8: save the file as CSV in UTF-8"
                    self._report(Fault(self._path.name, self.number, "", found, "text in UTF-8", complaint))
                yield line


def _records(path: Path, table_format: TableFormat, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line of the file in which it begins."""
    name = path.name
    lines = _Lines(path, report)
    reader = csv.reader(lines, delimiter=DELIMITERS[table_format.delimiter], strict=True)
    while True:
        first = lines.begin_row()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report(Fault(name, first, "", str(error), "quotes that are closed", f"{error}: is a quote left open?"))
            continue
        except _RowTooLongError:
            found, longest = f"more than {MAX_ROW_LENGTH:,} characters", f"a row of at most {MAX_ROW_LENGTH:,} characters"
            complaint = f"{found} in one row, expected line ends: is a quote left open, or is it no table?"
            report(Fault(name, first, "", found, longest, complaint))
            return  # where the next row begins is not known
        if lines.is_faulty or not record or (len(record) == 1 and record[0].isspace()):
            continue
        yield first, record
