"""The format and the columns of a table, and the checks of its header."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from stagekit.errors import DataError

MAX_NUMBER = 1e15
"""Largest absolute value of a number: above it, a float does not distinguish one cent from the next."""
MISSING_NUMBERS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Texts that represent a missing number; in a text column, only an empty cell is missing."""
DELIMITERS = {",": ",", ";": ";", "tab": "\t", "|": "|"}
"""Delimiters by the name that settings use."""


class KnownColumns(NamedTuple):
    """What a pipeline knows about the columns of its tables."""

    id_name: str
    """Name of the id column in the rows that are read."""
    numeric: frozenset[str] = frozenset()
    """Columns that contain numbers if a table has them."""
    non_negative: frozenset[str] = frozenset()


class TableFormat(NamedTuple):
    """How a user's table is written."""

    id_column: str
    """Name of the id column in the file. It is required unless it is the pipeline's own name of that column."""
    delimiter: str = ","
    """A key of DELIMITERS."""
    decimal: str = "."
    known: KnownColumns = KnownColumns("id")


class TableSchema(NamedTuple):
    """The columns of a table."""

    header: tuple[str, ...]
    """Names of all columns in the file."""
    positions: tuple[int, ...]
    """Positions of the columns to read."""
    numeric: frozenset[str]
    """Columns of the header that contain numbers."""
    format: TableFormat

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns to read; the id column has the name that the pipeline uses."""
        return tuple(
            self.format.known.id_name if self.is_id(position) else self.header[position] for position in self.positions
        )

    def is_id(self, position: int) -> bool:
        """Return whether a column contains the ids."""
        return self.header[position] == self.format.id_column

    def is_number(self, position: int) -> bool:
        """Return whether a column contains numbers."""
        return self.header[position] in self.numeric

    def min_number(self, position: int) -> float:
        """Return the smallest valid number of a column."""
        return 0.0 if self.header[position] in self.format.known.non_negative else -MAX_NUMBER


def make_schema(
    header: Sequence[str], features: Sequence[str], table_format: TableFormat, columns: Sequence[str] | None = None
) -> TableSchema:
    """Choose the columns to read.

    Parameters
    ----------
    header : sequence of str
        All columns of the table.
    features : sequence of str
        Columns that have to contain numbers, in addition to the known ones.
    table_format : TableFormat
    columns : sequence of str, optional
        Columns to read in addition to the id; by default all.
    """
    selected = {table_format.id_column, *(header if columns is None else columns)}
    numeric = {*table_format.known.numeric, *features}.intersection(header) - {table_format.id_column}
    positions = tuple(position for position, name in enumerate(header) if name in selected)
    return TableSchema(tuple(header), positions, frozenset(numeric), table_format)


def check_header(where: str, header: Sequence[str], required: Sequence[str], table_format: TableFormat) -> None:
    """Check that names are present, unique and not empty.

    Parameters
    ----------
    where : str
        Begins the error messages.
    header : sequence of str
    required : sequence of str
        Columns that the table needs, apart from the id.
    table_format : TableFormat

    Raises
    ------
    DataError
        A check failed.
    """
    id_column, id_name = table_format.id_column, table_format.known.id_name
    if "" in header:
        raise DataError(f"{where}: column {header.index('') + 1} has no name: name it or remove it")
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{where}: column {repeated[0]!r} occurs twice: leave one of them")
    for column in required if id_column == id_name else (*required, id_column):
        if column not in header:
            similar = difflib.get_close_matches(column, header, n=1)
            hint = f"is {similar[0]!r} meant?" if similar else f"it has {', '.join(map(repr, header[:30]))}"
            raise DataError(f"{where}: column {column!r} is missing; {hint}")
    if id_column != id_name and id_name in header:
        raise DataError(f"{where}: {id_name!r} is present beside the id column {id_column!r}: rename or remove one of them")
