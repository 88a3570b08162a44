"""The ids of the customers on the volume, and the previous segment of each.

Ten million ids as Python strings take 0.7 GB. They are stored in a DuckDB database for each part, and joined with the published
segments.csv there; DuckDB moves to the volume what exceeds its memory limit.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from stagekit.tables.csv_injection import escape_formula
from stagekit.tables.duckdb_reader import attach, connect, quoted

NO_SEGMENT = 0
"""Segment id of a customer who has no segment; ids begin with 1."""
NOT_IN_TABLE = -1
"""Previous segment id of a customer who was not in the table."""

_JOIN_ROWS = 2_000_000  # about as many ids are joined at a time, so that memory does not grow with the table

ESCAPED_ID = "coalesce(escaped, id)"
"""SQL of an id as it is written to CSV, in the table `ids` of a part."""


class PreviousMembership(NamedTuple):
    """Previous segments of the current customers, and of those who have left."""

    segment_ids: NDArray[np.int32]
    """Shape (n_customers,): a segment id, NO_SEGMENT or NOT_IN_TABLE."""
    sizes: dict[int, int]
    """Number of customers of each previous segment, and of NO_SEGMENT."""

    @property
    def departed(self) -> dict[int, int]:
        """Number of customers of each previous segment, and of NO_SEGMENT, who are no longer in the table."""
        remaining = np.bincount(self.segment_ids[self.segment_ids != NOT_IN_TABLE], minlength=1)
        counts = {one: size - int(remaining[one] if one < len(remaining) else 0) for one, size in self.sizes.items()}
        return {segment_id: count for segment_id, count in counts.items() if count}


def split_by_part(membership: PreviousMembership | None, sizes: list[int]) -> list[NDArray[np.int32] | None]:
    """Divide the previous segment ids of all customers by part; None for each part without a membership."""
    if membership is None:
        return [None] * len(sizes)
    return list(np.split(membership.segment_ids, np.cumsum(sizes)[:-1]))


def escape_formulas(texts: pd.Series[str]) -> pd.Series[str]:
    """Apply `escape_formula` to a column; only texts that do not begin with an ASCII letter or digit are examined."""
    first = texts.to_numpy(dtype="U1").view(np.uint32)
    digit, upper, lower = ((first >= ord(a)) & (first <= ord(z)) for a, z in ("09", "AZ", "az"))
    rows = np.flatnonzero(~(digit | upper | lower))
    if not rows.size:
        return texts
    # to_numpy(copy=True) copies nothing from an unpickled column (pandas 3.1.1).
    changed = np.array(texts.to_numpy(dtype=object))
    changed[rows] = [escape_formula(str(text)) for text in changed[rows]]
    return pd.Series(changed, index=texts.index, name=texts.name, dtype="str")


def store_ids(ids: pd.Series[str], folder: Path) -> Path:
    """Write ids to the table `ids` of a new DuckDB database in `folder`, in their order; returns its path."""
    # The name is unique: a worker that Dask has given up on may still be writing the database of the same part.
    database = folder / f"{secrets.token_hex(8)}.duckdb"
    escaped = escape_formulas(ids)
    rows = pd.DataFrame({"id": ids} if escaped is ids else {"id": ids, "escaped": escaped})
    column = "NULL" if escaped is ids else "nullif(escaped, id)"
    with connect(folder, database, n_threads=1) as connection:
        connection.execute("PRAGMA force_compression='uncompressed'")  # compression takes longer than writing
        connection.register("rows", rows)
        connection.execute(f"CREATE TABLE ids AS SELECT id, {column}::VARCHAR AS escaped FROM rows")
    return database


def find_previous_membership(
    published: Iterable[BinaryIO], databases: Sequence[Path], n_customers: Sequence[int], folder: Path
) -> PreviousMembership:
    """Look up the current customers in a published segments.csv.

    Parameters
    ----------
    published : iterable of files
        The parts of segments.csv.
    databases : sequence of Path
        The ids of each part of the current customers; see `store_ids`. No id occurs twice.
    n_customers : sequence of int
        Number of customers of each part.
    folder : Path
        For temporary files.

    Returns
    -------
    PreviousMembership
    """
    segment_ids = np.full(sum(n_customers), NOT_IN_TABLE, dtype=np.int32)
    with connect(folder, folder / f"{secrets.token_hex(8)}.duckdb") as connection:
        connection.execute("CREATE TABLE previous (id VARCHAR, segment_id INTEGER)")
        for file in published:
            connection.execute(
                f"INSERT INTO previous SELECT {CUSTOMER_ID}, coalesce(segment_id::INTEGER, {NO_SEGMENT}) FROM {_read_csv(file)}"
            )
        sizes = dict(connection.execute("SELECT segment_id, count(*) FROM previous GROUP BY ALL").fetchall())
        parts, first = [], 0
        for number, (database, n_rows) in enumerate(zip(databases, n_customers, strict=True)):
            attach(connection, database, number)
            parts.append(f"SELECT {ESCAPED_ID} AS id, (rowid + {first})::INTEGER AS position FROM d{number}.ids")
            first += n_rows
        connection.execute(f"CREATE VIEW current AS {' UNION ALL '.join(parts)}")
        n_joins = 1 + sum(sizes.values()) // _JOIN_ROWS
        for number in range(n_joins):
            connection.execute(
                "SELECT position, segment_id FROM current JOIN previous USING (id) "
                f"WHERE hash(current.id) % {n_joins} = {number} AND hash(previous.id) % {n_joins} = {number}"
            )
            found = connection.fetchnumpy()
            segment_ids[found["position"]] = found["segment_id"]
    return PreviousMembership(segment_ids, sizes)


def _read_csv(file: BinaryIO) -> str:
    """Write the SQL that reads a segments.csv, with whatever columns the version had that wrote it."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    header = next(csv.reader(text))
    text.detach()  # leaves the file open
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in header)
    # An empty segment id is NULL, and no id is empty.
    return (
        f"read_csv({quoted(str(file.name))}, auto_detect=false, header=true, columns={{{columns}}}, delim=',', quote='\"', "
        "escape='\"', nullstr='', strict_mode=true)"
    )
