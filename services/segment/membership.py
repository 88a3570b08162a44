"""The ids of the customers on the volume, and the previous segment of each.

Ten million ids as Python strings take 0.7 GB. They are stored in a DuckDB database for each part, and joined with the published
segments.csv there; DuckDB moves to the volume what exceeds its memory limit.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from stagekit.tables.csv_injection import unescape
from stagekit.tables.duckdb_reader import attach, connect, written_csv
from stagekit.workers.worker_pool import PersistedParts

NO_SEGMENT = 0
"""Segment id of a customer who has no segment; ids begin with 1."""
NOT_IN_TABLE = -1
"""Previous segment id of a customer who was not in the table."""

_JOIN_ROWS = 2_000_000  # about as many ids are joined at a time, so that memory does not grow with the table

_ID = f"CASE WHEN starts_with({CUSTOMER_ID}, '''') THEN unescape({CUSTOMER_ID}) ELSE {CUSTOMER_ID} END"


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


def split_by_part(membership: PreviousMembership | None, parts: PersistedParts) -> list[NDArray[np.int32] | None]:
    """Divide the previous segment ids of all customers by part; None for each part without a membership."""
    sizes = parts.map(attrgetter("n_customers"))
    if membership is None:
        return [None] * len(sizes)
    return list(np.split(membership.segment_ids, np.cumsum(sizes)[:-1]))


def store_ids(ids: pd.Series[str], folder: Path) -> Path:
    """Write ids to the table `ids` of a new DuckDB database in `folder`, in their order; returns its path."""
    # The name is unique: a worker that Dask has given up on may still be writing the database of the same part.
    database = folder / f"{secrets.token_hex(8)}.duckdb"
    with connect(folder, database, n_threads=1) as connection:
        connection.execute("PRAGMA force_compression='uncompressed'")  # compression takes longer than writing
        connection.register("rows", ids.to_frame("id"))
        connection.execute("CREATE TABLE ids AS SELECT id FROM rows")
    return database


def find_previous_membership(published: Iterable[BinaryIO], parts: PersistedParts, folder: Path) -> PreviousMembership | None:
    """Look up the current customers in a published segments.csv.

    Parameters
    ----------
    published : iterable of files
        The parts of segments.csv.
    parts : PersistedParts
        The current customers, each part a `CustomerPart`. No id occurs twice.
    folder : Path
        For temporary files.

    Returns
    -------
    PreviousMembership or None
        None if the current customers have no ids; then no file is opened.
    """
    databases = [database for database in parts.map(attrgetter("ids")) if database]
    if not databases:
        return None
    sizes_of_parts = parts.map(attrgetter("n_customers"))
    segment_ids = np.full(sum(sizes_of_parts), NOT_IN_TABLE, dtype=np.int32)
    with connect(folder, folder / f"{secrets.token_hex(8)}.duckdb") as connection:
        connection.create_function("unescape", unescape)
        connection.execute("CREATE TABLE previous (id VARCHAR, segment_id INTEGER)")
        for file in published:
            connection.execute(
                f"INSERT INTO previous SELECT {_ID}, coalesce(segment_id::INTEGER, {NO_SEGMENT}) FROM {written_csv(file)}"
            )
        sizes = dict(connection.execute("SELECT segment_id, count(*) FROM previous GROUP BY ALL").fetchall())
        queries, first = [], 0
        for number, (database, n_rows) in enumerate(zip(databases, sizes_of_parts, strict=True)):
            attach(connection, database, number)
            queries.append(f"SELECT id, (rowid + {first})::INTEGER AS position FROM d{number}.ids")
            first += n_rows
        connection.execute(f"CREATE VIEW current AS {' UNION ALL '.join(queries)}")
        n_joins = 1 + sum(sizes.values()) // _JOIN_ROWS
        for number in range(n_joins):
            connection.execute(
                "SELECT position, segment_id FROM current JOIN previous USING (id) "
                f"WHERE hash(current.id) % {n_joins} = {number} AND hash(previous.id) % {n_joins} = {number}"
            )
            found = connection.fetchnumpy()
            segment_ids[found["position"]] = found["segment_id"]
    return PreviousMembership(segment_ids, sizes)
