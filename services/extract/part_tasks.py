"""Parts of the customer table in which each customer has one row: the last one with its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagekit.tables.duckdb_reader import LoadedTable, RowRange, read_part
from stagekit.tables.table_schema import TableSchema
from stagekit.volume.parts import PendingPart, save_draft


class PartSource(NamedTuple):
    """The rows of a part."""

    ranges: tuple[RowRange, ...]
    duplicates: NDArray[np.int64]
    """Positions in the part of the rows to drop, ascending: their id occurs again later, in this or another part."""


class WrittenPart(NamedTuple):
    """A part without duplicates."""

    pending: PendingPart
    n_customers: int
    missing: dict[str, int]
    """Missing cells by column."""


def plan_parts(tables: Sequence[LoadedTable], duplicates: NDArray[np.int64], rows_per_part: int) -> Iterator[PartSource]:
    """Divide tables into parts of `rows_per_part` rows; a part without remaining rows is omitted.

    Parameters
    ----------
    tables : sequence of LoadedTable
    duplicates : ndarray of shape (n_duplicates,)
        Positions of the rows to drop, in all tables together, ascending.
    rows_per_part : int
    """
    starts = np.cumsum([0, *(table.n_rows for table in tables)]).tolist()
    for first in range(0, starts[-1], rows_per_part):
        end = min(first + rows_per_part, starts[-1])
        ranges = tuple(
            RowRange(table.database, max(first - start, 0), min(end - start, table.n_rows))
            for table, start in zip(tables, starts[:-1], strict=True)
            if start < end and first < start + table.n_rows
        )
        low, high = np.searchsorted(duplicates, [first, end])
        if high - low < end - first:
            yield PartSource(ranges, duplicates[low:high] - first)


def write_part(source: PartSource, *, schema: TableSchema, target: tuple[Path, str]) -> WrittenPart:
    """Read the rows of a part, drop duplicates and write it to `target`."""
    customers = read_part(source.ranges, schema)
    if len(source.duplicates):
        customers = customers.drop(index=source.duplicates.tolist()).reset_index(drop=True)
    missing = {str(name): int(column.isna().to_numpy().sum()) for name, column in customers.items()}
    return WrittenPart(save_draft(*target, customers), len(customers), missing)
