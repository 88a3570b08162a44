"""Parts of the customer table in which each customer has one row: the last one with its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stagekit.tables.duckdb_reader import Loaded, Span, read_part
from stagekit.tables.strict_reader import Schema
from stagekit.volume.parts import OutputLocation, PendingPart


class PartRows(NamedTuple):
    """The rows of a part."""

    spans: tuple[Span, ...]
    earlier: NDArray[np.int64]
    """Positions in the part of the rows whose id has a later row, here or in another part; ascending."""


class WrittenPart(NamedTuple):
    """A part without duplicates, as a draft."""

    draft: PendingPart
    n_customers: int
    missing: dict[str, int]
    """Missing cells of each column."""


def plan_parts(loaded: Sequence[Loaded], earlier: NDArray[np.int64] | None, rows_per_part: int) -> Iterator[PartRows]:
    """Cut tables into parts of `rows_per_part` rows; a part of which no row remains is left out.

    Parameters
    ----------
    earlier : positions of the rows to drop, in all tables together, ascending; None for none
    """
    dropped = np.empty(0, np.int64) if earlier is None else earlier
    starts = np.cumsum([0, *(one.n_rows for one in loaded)]).tolist()
    for first in range(0, starts[-1], rows_per_part):
        end = min(first + rows_per_part, starts[-1])
        spans = tuple(
            Span(one.database, max(first - start, 0), min(end - start, one.n_rows))
            for one, start in zip(loaded, starts[:-1], strict=True)
            if start < end and first < start + one.n_rows
        )
        low, high = np.searchsorted(dropped, [first, end])
        if high - low < end - first:
            yield PartRows(spans, dropped[low:high] - first)


def write_part(rows: PartRows, *, schema: Schema, target: OutputLocation) -> WrittenPart:
    """Read the rows of a part, drop duplicates and write it to `target`; see `Workspace.target`."""
    customers = drop_rows(read_part(rows.spans, schema), rows.earlier)
    return WrittenPart(target.write(customers), len(customers), count_missing(customers))


def drop_rows(customers: pd.DataFrame, positions: NDArray[np.int64]) -> pd.DataFrame:
    """Drop rows by position."""
    if not len(positions):
        return customers
    stays = np.ones(len(customers), dtype=np.bool_)
    stays[positions] = False
    return customers[stays].reset_index(drop=True)


def count_missing(customers: pd.DataFrame) -> dict[str, int]:
    """Count the missing cells of each column."""
    return {str(name): int(column.isna().to_numpy().sum()) for name, column in customers.items()}
