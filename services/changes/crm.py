"""crm.csv and changed.csv: the segment of every customer for a CRM, and what changed since the previous publication.

The tables are joined in DuckDB, which moves to the volume what exceeds its memory limit: there may be ten million customers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import BinaryIO, NamedTuple

import duckdb

from services.contract.results import CHANGED_COLUMNS, CRM_COLUMNS, UNASSIGNED_NAME
from stagekit.tables.csv_injection import escape_formula
from stagekit.tables.duckdb_reader import quoted, written_csv

CHANGES = ("new", "departed", "moved", "renamed")

_CSV = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', USE_TMP_FILE false"


class Publication(NamedTuple):
    """The segments of a publication."""

    names: Mapping[int, str]
    """Segment id to name."""
    published: date


class Counts(NamedTuple):
    """Numbers of customers."""

    customers: int
    changes: dict[str, int]
    """By kind of change; see CHANGES."""
    moves: list[tuple[str, str, int]]
    """Previous name, current name and number of customers who moved, the most frequent first."""


class CustomerTables:
    """The customers of a publication and of the previous one, in a DuckDB database.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Of an empty database.
    current : Publication
    previous : Publication or None
        None if there was no publication before.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, current: Publication, previous: Publication | None) -> None:
        self._connection = connection
        self._current = current
        self._previous = previous
        connection.execute("CREATE TABLE current (id VARCHAR, segment_id INTEGER, known VARCHAR)")
        connection.execute("CREATE TABLE previous (id VARCHAR, segment_id INTEGER, since DATE)")

    def add_current(self, segments: Iterable[BinaryIO]) -> None:
        """Add the customers of segments.csv of this publication, part by part."""
        self._insert("current", segments, "segment_id, previous_segment_id")

    def add_previous(self, segments: Iterable[BinaryIO]) -> None:
        """Add the customers of segments.csv of the previous publication.

        The dates of their last changes are not known. They are not later than its date, which is used.
        """
        assert self._previous is not None
        self._insert("previous", segments, f"segment_id, {_date(self._previous)}")

    def add_previous_crm(self, crm: Iterable[BinaryIO]) -> None:
        """Add the customers of crm.csv of the previous publication, with the dates of their last changes."""
        self._insert("previous", crm, "segment_id, since")

    def _insert(self, table: str, files: Iterable[BinaryIO], columns: str) -> None:
        for file in files:
            self._connection.execute(f"INSERT INTO {table} SELECT CUST_ID, {columns} FROM {written_csv(file)}")

    def are_ids_known(self) -> bool:
        """Return whether customers can be recognised by their ids.

        They cannot if the tables have no CUST_ID and ids are row numbers: then no customer has a previous segment in
        segments.csv, although the same ids are in both tables.
        """
        common, known = self._fetch_one(
            "SELECT count(*), count(c.known) FROM current c JOIN previous p USING (id) WHERE p.segment_id IS NOT NULL"
        )
        return bool(known or not common)

    def forget_previous(self) -> None:
        """Compare with nothing, because customers cannot be recognised."""
        self._connection.execute("DELETE FROM previous")
        self._previous = None

    def write_crm(self, path: str) -> None:
        """Write all customers of this publication, in the order of segments.csv."""
        is_same = "p.id IS NOT NULL AND p.segment_id IS NOT DISTINCT FROM c.segment_id"
        # Row n of `joined` belongs to row n of `current`: numbers sort faster than ids.
        self._connection.execute(
            f"""
            CREATE TABLE joined AS
            SELECT c.rowid AS position, p.id IS NULL AS is_new, p.segment_id AS previous_id,
                CASE WHEN {is_same} THEN p.since ELSE {_date(self._current)} END AS since
            FROM current c LEFT JOIN previous p USING (id) ORDER BY position
            """
        )
        name = _name("segment_id", self._current)
        self._copy(f"SELECT id, segment_id, {name}, since FROM current POSITIONAL JOIN joined", CRM_COLUMNS, path)

    def write_changed(self, path: str) -> Counts:
        """Write the customers whose entry in crm.csv has changed, in the order of segments.csv, then the departed.

        Needs `write_crm` first. Without a previous publication there are none.
        """
        columns = "id, previous_id, old_name, segment_id, new_name, change, since"
        is_moved = "previous_id IS DISTINCT FROM segment_id"
        self._connection.execute(
            f"""
            CREATE TABLE changed AS
            SELECT {columns}, position FROM (
                SELECT id, previous_id, CASE WHEN NOT is_new THEN {_name("previous_id", self._previous)} END AS old_name,
                    segment_id, {_name("segment_id", self._current)} AS new_name,
                    CASE WHEN is_new THEN 'new' WHEN {is_moved} THEN 'moved' WHEN old_name <> new_name THEN 'renamed' END
                        AS change, since, position
                FROM current POSITIONAL JOIN joined
            ) WHERE {self._previous is not None} AND change IS NOT NULL
            UNION ALL
            SELECT id, segment_id, {_name("segment_id", self._previous)}, NULL, NULL, 'departed', {_date(self._current)},
                p.rowid + (SELECT count(*) FROM current)
            FROM previous p ANTI JOIN current USING (id)
            """
        )
        self._copy(f"SELECT {columns} FROM changed ORDER BY position", CHANGED_COLUMNS, path)
        (customers,) = self._fetch_one("SELECT count(*) FROM current")
        changes = dict(self._connection.execute("SELECT change, count(*) FROM changed GROUP BY ALL").fetchall())
        moves = self._connection.execute(
            "SELECT old_name, new_name, count(*) AS n FROM changed WHERE change = 'moved' "
            "GROUP BY ALL ORDER BY n DESC, old_name, new_name"
        ).fetchall()
        return Counts(customers, {kind: changes.get(kind, 0) for kind in CHANGES}, moves)

    def _copy(self, query: str, columns: Iterable[str], path: str) -> None:
        names = ", ".join(columns)
        self._connection.execute(f"COPY (SELECT * FROM ({query}) AS rows ({names})) TO {quoted(path)} ({_CSV})")

    def _fetch_one(self, query: str) -> tuple[int, ...]:
        row = self._connection.execute(query).fetchone()
        assert row is not None
        return row


def _date(publication: Publication) -> str:
    """Write the SQL of the date of a publication."""
    return f"DATE {quoted(publication.published.isoformat())}"


def _name(segment_id: str, publication: Publication | None) -> str:
    """Write the SQL of a segment's name."""
    names = publication.names if publication else {}
    ids, texts = ", ".join(map(str, [0, *names])), ", ".join(quoted(escape_formula(name)) for name in ["", *names.values()])
    return f"CASE WHEN {segment_id} IS NULL THEN {quoted(UNASSIGNED_NAME)} ELSE map([{ids}], [{texts}])[{segment_id}] END"
