"""Read a piece of the customer table: with pandas, or strictly where that may be wrong."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from services.contract import tables
from services.contract.errors import DataError
from services.contract.tables import Lines
from services.extract.pieces import Span
from services.extract.plain import is_plain

_STRICT_ROWS = 50_000  # at a time: as Python objects they take ten times their space
_FIRST_BYTES = 1 << 20  # enough for any row; a longer one is odd
_BLOCK = 1 << 22


class Table(NamedTuple):
    """What the rows of the customer table consist of."""

    header: tuple[str, ...]
    columns: tuple[str, ...]
    """Those to keep."""
    numeric: frozenset[str]
    """Those that hold numbers."""

    @property
    def dtypes(self) -> dict[str, str]:
        return {name: "float64" if name in self.numeric else "str" for name in self.columns}


def read_table(paths: Sequence[Path], feature_columns: Sequence[str], keep: Collection[str] | None = None) -> Table:
    """Read the headers of files that are to be one table; of their columns those in `keep` are kept, or all.

    Raises DataError where a feature is missing, a name stands twice, or the headers differ.
    """
    first, *others = paths
    header = tables.read_header(first, feature_columns)
    for path in others:
        if (found := tables.read_header(path, feature_columns)) != header:
            here, there = next(pair for pair in zip([*found, ""], [*header, ""], strict=False) if pair[0] != pair[1])
            raise DataError(
                f"{path.name} row 1: column {here!r} stands where {first.name} has {there!r}: "
                "all files need the same columns in the same order"
            )
    columns = [name for name in header if keep is None or name in keep]
    return Table(tuple(header), tuple(columns), frozenset(tables.numeric_columns(header, feature_columns)))


def read_fast(span: Span, table: Table) -> pd.DataFrame | None:
    """Read rows with pandas; None where it fails or may have read something else than what is there.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns): numbers as float64, missing ones as NaN; every other column as text.
    """
    rows = span.read()
    if not is_plain(rows) or not _begins_well(rows, len(table.header)):
        return None
    # Told to leave out columns, pandas no longer minds how many fields a row has.
    skips = table.columns != table.header and _is_even(rows, len(table.header))
    columns = table.columns if skips else table.header
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(rows),
                header=None,
                names=list(table.header),
                usecols=list(columns) if skips else None,
                index_col=False,  # else pandas takes the first column of rows that are too long for an index
                dtype={name: "float64" if name in table.numeric else "str" for name in columns},
                keep_default_na=False,
                na_values={name: list(tables.MISSING) if name in table.numeric else [""] for name in columns},
                encoding="utf-8",
            )
    except (ValueError, pd.errors.ParserWarning):  # ValueError: pandas' ParserError and UnicodeDecodeError too
        return None
    if not _is_right(frame, table) or (not skips and _may_be_short(frame, rows)):
        return None
    return frame if columns == table.columns else frame[list(table.columns)]


def _begins_well(rows: bytes, n_fields: int) -> bool:
    """Tell whether the first row is as long as it should be: pandas expects of all others as many fields as that one has."""
    try:
        first = next(filter(None, csv.reader(io.StringIO(rows[:_FIRST_BYTES].decode(errors="replace"), newline=""))), [])
    except csv.Error:
        return False
    return len(first) == n_fields


def _is_even(rows: bytes, n_fields: int) -> bool:
    """Tell whether every line has just as many fields, by its commas; False where some may be quoted."""
    if b'"' in rows:
        return False
    start = 0
    while start < len(rows):
        end = rows.rfind(b"\n", start, start + _BLOCK) + 1 or len(rows)
        text = np.frombuffer(rows, np.uint8, end - start, start)
        ends = np.flatnonzero(text[:-1] == ord("\n"))
        commas = np.searchsorted(np.flatnonzero(text == ord(",")), [*ends, len(text)])
        if (np.diff(commas, prepend=0) != n_fields - 1).any():
            return False
        start = end
    return True


def _is_right(frame: pd.DataFrame, table: Table) -> bool:
    if tables.CUSTOMER_ID in frame and not _is_tidy(frame[tables.CUSTOMER_ID]):
        return False
    for name in table.numeric.intersection(frame.columns):
        values = frame[name].to_numpy()
        smallest, largest = np.fmin.reduce(values, initial=0), np.fmax.reduce(values, initial=0)
        lowest = 0 if name in tables.NUMERIC_COLUMNS and name not in tables.MAY_BE_NEGATIVE else -tables.LARGEST_NUMBER
        if smallest < lowest or largest > tables.LARGEST_NUMBER:
            return False
    return True


def _may_be_short(frame: pd.DataFrame, rows: bytes) -> bool:
    """Tell whether a row may have too few fields, which pandas fills up with missing values; too many it refuses."""
    if not frame.iloc[:, -1].isna().any():
        return False
    return b'"' in rows or rows.count(b",") != len(frame) * (frame.shape[1] - 1)


def _is_tidy(ids: pd.Series[str]) -> bool:
    """Tell whether every id is there and without blanks around it."""
    if ids.isna().any():
        return False
    together = "".join(ids.tolist())
    return together.split(maxsplit=1) == [together] or bool((ids.str.strip() == ids).all())


def read_strictly(span: Span, table: Table) -> tuple[pd.DataFrame, int]:
    """Read rows as `read_fast` does, and the byte that follows the last one: beyond the span where that was cut inside a cell.

    Raises DataError that names file, column, row and value.
    """
    frames = [pd.DataFrame(columns=list(table.columns)).astype(table.dtypes)]
    with Lines(span.path, span.start) as lines:
        rows = tables.read_on(lines, table.header, table.columns, table.numeric)
        inside = iter(lambda: next(rows, None) if lines.position < span.end else None, None)
        while batch := list(islice(inside, _STRICT_ROWS)):
            frames.append(pd.DataFrame(batch, columns=list(table.columns)).astype(table.dtypes))
        return pd.concat(frames[1:] or frames, ignore_index=True), lines.position


def count_missing(customers: pd.DataFrame) -> dict[str, int]:
    """Count the missing cells of each column."""
    return {str(name): int(column.isna().to_numpy().sum()) for name, column in customers.items()}
