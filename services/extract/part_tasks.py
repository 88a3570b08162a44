"""Writing a part of the customer table; runs on a worker."""

from __future__ import annotations

from typing import NamedTuple

from stagekit.tables.duckdb_reader import PartSource, read_part
from stagekit.tables.table_schema import TableSchema
from stagekit.volume.parts import OutputLocation, PendingPart


class WrittenPart(NamedTuple):
    """A part in which each customer has one row: the last one with its id."""

    pending: PendingPart
    n_customers: int
    missing: dict[str, int]
    """Missing cells by column."""


def write_part(source: PartSource, *, schema: TableSchema, target: OutputLocation) -> WrittenPart:
    """Read the rows of a part without duplicates and write them to `target`."""
    customers = read_part(source, schema)
    missing = {str(name): int(column.isna().to_numpy().sum()) for name, column in customers.items()}
    return WrittenPart(target.write(customers), len(customers), missing)
