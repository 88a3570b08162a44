"""crm.csv and changed.csv: the segment of every customer for a CRM, and what changed since the previous publication.

The tables are joined in DuckDB, which moves to the volume what exceeds its memory limit: there may be ten million customers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date
from typing import BinaryIO, NamedTuple

import duckdb

from services.contract.results import CHANGED_COLUMNS, CRM_COLUMNS, UNASSIGNED_NAME
from stagekit.tables.csv_injection import escape_formula
from stagekit.tables.duckdb_reader import quoted

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
        for table in ("current", "previous"):
            connection.execute(f"CREATE TABLE {table} (id VARCHAR, segment_id INTEGER, known VARCHAR, since DATE)")
            connection.execute(f"CREATE TABLE {table}_names (segment_id INTEGER, name VARCHAR)")
        for table, publication in (("current", current), ("previous", previous)):
            for segment_id, name in publication.names.items() if publication else ():
                connection.execute(f"INSERT INTO {table}_names VALUES (?, ?)", [segment_id, escape_formula(name)])

    def add_current(self, segments: Iterable[BinaryIO]) -> None:
        """Add the customers of segments.csv of this publication, part by part."""
        self._insert("current", segments, "segment_id, previous_segment_id, NULL")

    def add_previous(self, segments: Iterable[BinaryIO]) -> None:
        """Add the customers of segments.csv of the previous publication.

        The dates of their last changes are not known. They are not later than its date, which is used.
        """
        assert self._previous is not None
        self._insert("previous", segments, f"segment_id, NULL, DATE {quoted(self._previous.published.isoformat())}")

    def add_previous_crm(self, crm: Iterable[BinaryIO]) -> None:
        """Add the customers of crm.csv of the previous publication, with the dates of their last changes."""
        self._insert("previous", crm, "segment_id, NULL, since")

    def _insert(self, table: str, files: Iterable[BinaryIO], columns: str) -> None:
        for file in files:
            self._connection.execute(f"INSERT INTO {table} SELECT CUST_ID, {columns} FROM {_read_csv(file)}")

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
        today = f"DATE {quoted(self._current.published.isoformat())}"
        stays = "p.id IS NOT NULL AND p.segment_id IS NOT DISTINCT FROM c.segment_id"
        self._connection.execute(
            f"""
            CREATE TABLE joined AS
            SELECT c.rowid AS position, c.id, c.segment_id, p.id IS NULL AS is_new, p.segment_id AS previous_id,
                CASE WHEN {stays} THEN p.since ELSE {today} END AS since
            FROM current c LEFT JOIN previous p USING (id)
            """
        )
        self._copy(
            f"""
            SELECT id, segment_id, {_name("n", "segment_id")}, since
            FROM joined LEFT JOIN current_names n USING (segment_id) ORDER BY position
            """,
            CRM_COLUMNS,
            path,
        )

    def write_changed(self, path: str) -> Counts:
        """Write the customers whose entry in crm.csv has changed, in the order of segments.csv, then the departed.

        Needs `write_crm` first. Without a previous publication there are none.
        """
        today = f"DATE {quoted(self._current.published.isoformat())}"
        is_moved = "c.previous_id IS DISTINCT FROM c.segment_id"
        old_name = f"CASE WHEN is_new THEN NULL ELSE {_name('o', 'c.previous_id')} END"
        self._connection.execute(
            f"""
            CREATE TABLE changed AS
            SELECT position, id, previous_id, {old_name} AS old_name, c.segment_id, {_name("n", "c.segment_id")} AS new_name,
                CASE WHEN is_new THEN 'new' WHEN {is_moved} THEN 'moved' ELSE 'renamed' END AS change, since
            FROM joined c
            LEFT JOIN previous_names o ON o.segment_id = c.previous_id
            LEFT JOIN current_names n ON n.segment_id = c.segment_id
            WHERE {self._previous is not None} AND (is_new OR {is_moved} OR old_name <> new_name)
            UNION ALL
            SELECT p.rowid + (SELECT count(*) FROM current), p.id, p.segment_id, {_name("o", "p.segment_id")}, NULL, NULL,
                'departed', {today}
            FROM previous p ANTI JOIN current USING (id) LEFT JOIN previous_names o ON o.segment_id = p.segment_id
            """
        )
        columns = "id, previous_id, old_name, segment_id, new_name, change, since"
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


def _name(table: str, segment_id: str) -> str:
    """Write the SQL of a segment's name."""
    return f"CASE WHEN {segment_id} IS NULL THEN {quoted(UNASSIGNED_NAME)} ELSE coalesce({table}.name, '') END"


def _read_csv(file: BinaryIO) -> str:
    """Write the SQL that reads a CSV file of this project, with whatever columns the version had that wrote it."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    header = next(csv.reader(text))
    text.detach()  # leaves the file open
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in header)
    return (
        f"read_csv({quoted(str(file.name))}, auto_detect=false, header=true, columns={{{columns}}}, delim=',', quote='\"', "
        "escape='\"', nullstr='', strict_mode=true)"
    )
