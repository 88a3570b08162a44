"""A CSV reader in plain Python that defines what is valid, and reports every fault with file, row, column and value.

`duckdb_reader` reads tables faster and falls back to this reader for every file in which it finds anything unusual.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from stagekit.errors import DataError
from stagekit.tables.faults import Fault, Report, raise_fault
from stagekit.tables.table_schema import (
    DELIMITERS,
    MAX_NUMBER,
    MISSING_NUMBERS,
    TableFormat,
    TableSchema,
    check_header,
    make_schema,
)

MAX_ROW_LENGTH = 1 << 22
"""In characters."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # "surrogateescape" maps invalid bytes to these characters
_PEEK_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 22
_WINDOW_BYTES = 1 << 16
_ZERO_BYTE = "a zero byte: save the file as UTF-8 (is it UTF-16?)"

Cell = str | float | None
Records = Iterator[tuple[int, list[str]]]
"""Row numbers, which are line numbers in the file, and fields."""


class _CellError(ValueError):
    """An invalid cell: value and expectation."""


class _RowTooLongError(Exception):
    pass


def read_header(path: Path, required: Sequence[str], table_format: TableFormat) -> list[str]:
    """Read the column names of a CSV file.

    Raises
    ------
    DataError
        The file has another delimiter, or `check_header` finds an error.
    """
    header = next(_read_records(path, table_format, raise_fault), (1, []))[1]
    if any("\0" in name for name in header):
        raise DataError(f"{path.name} row 1: {_ZERO_BYTE}")
    if not header:
        raise DataError(f"{path.name} is empty: expected a header with {', '.join(required)}")
    is_single = len(header) == 1 and header[0] not in required
    if is_single and (other := re.search("[,;\t|]", header[0])) and other[0] != table_format.delimiter:
        remedy = "use" if other[0] == "," else "save it with commas, or use"
        raise DataError(f"{path.name} is separated by {other[0]!r}: {remedy} {_suggest_flags(path, other[0])}")
    check_header(f"{path.name} row 1", header, required, table_format)
    return header


def _suggest_flags(path: Path, delimiter: str) -> str:
    """Return the flags that read a file with this delimiter."""
    with _named_damage(path), _open(path) as file:
        rows = re.split(rb"[\r\n]", file.read(_PEEK_BYTES), maxsplit=1)[-1]
    name = next(name for name, text in DELIMITERS.items() if text == delimiter)
    flags = f"--delimiter {name if name.isalnum() else repr(name)}"
    return f"{flags} --decimal ','" if delimiter != "," and re.search(rb"\d,\d", rows) else flags


def read_rows(path: Path, features: Sequence[str], table_format: TableFormat) -> Iterator[dict[str, Cell]]:
    """Read a CSV file row by row.

    Yields
    ------
    dict
        Cells by column: numbers as float, missing values as None, everything else as text.

    Raises
    ------
    DataError
        At the first fault.
    """
    schema = make_schema(read_header(path, features, table_format), features, table_format)
    for row in check_records(path.name, read_records(path, table_format, raise_fault), schema, raise_fault):
        yield dict(zip(schema.columns, row, strict=True))


def read_records(path: Path, table_format: TableFormat, report: Report) -> Records:
    """Read the records of a CSV file below its header; a line that cannot be split into fields is reported and left out."""
    records = _read_records(path, table_format, report)
    next(records, None)
    return records


def check_records(
    name: str, records: Iterable[tuple[int, list[str]]], schema: TableSchema, report: Report
) -> Iterator[list[Cell]]:
    """Convert the cells of the schema's columns; a record with a fault is reported and left out.

    Parameters
    ----------
    name : str
        Name of the file.
    records : iterator of (row number, fields)
    schema : TableSchema
    report : callable
        Receives each Fault.
    """
    converters = [(position, schema.header[position], _converter(schema, position)) for position in schema.positions]
    n_fields = len(schema.header)
    for row, record in records:
        if any("\0" in field for field in record):
            report(Fault(name, row, "", "a zero byte", "text", _ZERO_BYTE))
            continue
        if len(record) != n_fields:
            found = f"{len(record)} fields"
            complaint = f"{found} instead of {n_fields}, it begins with {record[0][:40]!r}"
            report(Fault(name, row, "", found, f"{n_fields} fields", complaint))
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


def _converter(schema: TableSchema, position: int) -> Callable[[str], Cell]:
    if schema.is_id(position):
        return _parse_id
    if not schema.is_number(position):
        return lambda text: text or None
    minimum, table_format = schema.min_number(position), schema.format

    def convert(text: str) -> float | None:
        try:
            value = float(text if table_format.decimal == "." else _with_point(text))
        except ValueError:
            pass
        else:  # float() also accepts 1_0 and digits of any script
            if minimum <= value <= MAX_NUMBER and "_" not in text and text.isascii():
                return value
        return _parse_number(text.strip(), minimum, table_format)

    return convert


def _with_point(text: str) -> str:
    return text.replace(".", "x").replace(",", ".")


def _parse_number(text: str, minimum: float, table_format: TableFormat) -> float | None:
    if text in MISSING_NUMBERS:
        return None
    decimal = table_format.decimal
    with_point = text if decimal == "." else _with_point(text)
    if not _NUMBER.fullmatch(with_point):
        other = "." if decimal == "," else ","
        hint = f" with a decimal {'point' if decimal == '.' else 'comma'}"
        if not re.fullmatch(rf"[+-]?\d+{re.escape(other)}\d+", text):
            hint = ""
        elif other != table_format.delimiter:
            hint += f" (or use --decimal '{other}')"
        raise _CellError(repr(text[:40]), f"a number{hint}")
    value = float(with_point)
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise _CellError(text[:40], f"a number between ±{MAX_NUMBER:.0e}")
    if value < minimum:
        raise _CellError(text[:40], "no negative number")
    return value


def _parse_id(text: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise _CellError("empty", "an id for every customer")
    return stripped


class CsvLineReader:
    """Iterates over the lines of a CSV file; bytes that are not UTF-8 are reported."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._line_number = 0
        self._row_length = 0
        self.is_row_faulty = False

    def begin_row(self) -> int:
        """Return the line number, from 1, at which the next row begins."""
        self._row_length, self.is_row_faulty = 0, False
        return self._line_number + 1

    def __iter__(self) -> Iterator[str]:
        """Yield the lines with their line ends."""
        # newline="": a lone carriage return also ends a line, and line ends inside cells remain as they are.
        with (
            _named_damage(self._path),
            _open(self._path) as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
        ):
            while line := file.readline(MAX_ROW_LENGTH + 1):
                self._line_number += 1
                self._row_length += len(line)
                if self._row_length > MAX_ROW_LENGTH:
                    raise _RowTooLongError
                if not line.isascii() and (byte := _NOT_UTF8.search(line)):
                    self.is_row_faulty = True
                    found = f"byte 0x{ord(byte[0]) & 0xFF:02x}"
                    complaint = f"{found} is not UTF-8: save the file as CSV in UTF-8"
                    self._report(Fault(self._path.name, self._line_number, "", found, "text in UTF-8", complaint))
                yield line


def _read_records(path: Path, table_format: TableFormat, report: Report) -> Records:
    """Yield the rows that are not blank, each with the line number at which it begins."""
    lines = CsvLineReader(path, report)
    reader = csv.reader(lines, delimiter=DELIMITERS[table_format.delimiter], strict=True)
    while True:
        first = lines.begin_row()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report(Fault(path.name, first, "", str(error), "quotes that are closed", f"{error}: is a quote left open?"))
            continue
        except _RowTooLongError:
            found, expected = f"more than {MAX_ROW_LENGTH:,} characters", f"a row of at most {MAX_ROW_LENGTH:,} characters"
            complaint = f"{found} in one row, expected line ends: is a quote left open, or is it no table?"
            report(Fault(path.name, first, "", found, expected, complaint))
            return  # the start of the next row is unknown
        if lines.is_row_faulty or not record or (len(record) == 1 and record[0].isspace()):
            continue
        yield first, record


class Scan(NamedTuple):
    """Which bytes a CSV file contains."""

    is_unusual: bool
    """Zero bytes, blanks next to quotes, or rows of 64 KiB and more."""
    has_underscores: bool
    """Below the first line. Unknown if the file is unusual."""


def scan_bytes(path: Path) -> Scan:
    """Search a CSV file for bytes that DuckDB reads differently from this reader, without an error.

    DuckDB drops blanks next to quotes, and a last row that is longer than its buffer; its error messages about long rows need
    several times their length of memory. For a .gz file this also verifies the checksum, which DuckDB ignores.

    Raises
    ------
    DataError
        A .gz file is damaged.
    """
    previous, n_quotes, has_underscores = b"", 0, False
    with _named_damage(path), _open(path) as file:
        while block := file.read(_BLOCK_BYTES):
            has_quotes = b'"' in block
            if b"\0" in block or previous + block[:1] in (b'" ', b' "') or (has_quotes and (b'" ' in block or b' "' in block)):
                return Scan(is_unusual=True, has_underscores=True)
            has_underscores = has_underscores or block.find(b"_", 0 if previous else block.find(b"\n") + 1) >= 0
            previous = block[-1:]
            for start in range(0, len(block), _WINDOW_BYTES):
                end = start + _WINDOW_BYTES
                if end <= len(block) and not _has_row_end(block, start, end, n_quotes):
                    return Scan(is_unusual=True, has_underscores=True)
                n_quotes += block.count(b'"', start, end) if has_quotes else 0
    return Scan(is_unusual=False, has_underscores=has_underscores)


def _has_row_end(block: bytes, start: int, end: int, n_quotes: int) -> bool:
    """Return whether there is a line end outside quotes; the file has `n_quotes` quotes before `start`."""
    while (line_end := block.find(b"\n", start, end)) >= 0:
        n_quotes += block.count(b'"', start, line_end)
        if n_quotes % 2 == 0:
            return True
        start = line_end + 1
    return False


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}: is it damaged, or no gzip file?") from None


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")
