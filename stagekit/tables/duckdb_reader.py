"""Tables as rows of a DuckDB database: CSV and Parquet files are loaded with all cores, checked, and read back in parts.

DuckDB splits a file into text cells; SQL converts and checks them, because DuckDB's own conversion accepts more than
`strict_reader` does (1_0, infinities, other words for missing values). If DuckDB or a check rejects anything, the strict reader
reads the whole file: it decides what is valid, and finds every fault.
"""

from __future__ import annotations

import csv
import errno
import glob
import io
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import duckdb

from stagekit.errors import DataError, OutOfMemoryError
from stagekit.tables import strict_reader
from stagekit.tables.faults import Faults, Report
from stagekit.tables.table_schema import (
    DELIMITERS,
    MAX_NUMBER,
    MISSING_NUMBERS,
    TableFormat,
    TableSchema,
    check_header,
    make_schema,
)
from stagekit.workers.progress import polled_progress, progress
from stagekit.workers.worker_pool import count_cores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")

_MEMORY_LIMIT = "400MiB"  # of one connection; DuckDB spills the rest to disk
_MAX_LINE_BYTES = 131_072  # csv.field_size_limit(): the strict reader rejects a longer cell
_BUFFER_BYTES = 1 << 24  # with the default for this row length, 2 MiB, loading takes a fifth more CPU time
_NO_NULL = "\x01\x01"  # no text represents NULL: DuckDB ignores NULL cells after the last column
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x10000))))  # the characters that str.strip() removes
_BATCH_ROWS = 20_000
_CHUNK_VECTORS = 50  # of 2,048 rows
_BATCH_CHARACTERS = 1 << 24

log = logging.getLogger(__name__)


class LoadedTable(NamedTuple):
    """Rows of one or several files, in their order, in the table `rows` of a database."""

    database: Path
    n_rows: int
    faults: Faults


class RowRange(NamedTuple):
    """Rows of a database, from `first` up to, but not including, `end`."""

    database: Path
    first: int
    end: int


class PartSource(NamedTuple):
    """The rows of a part."""

    ranges: tuple[RowRange, ...]
    is_duplicate: NDArray[np.bool_]
    """Mask of the rows to drop: their id occurs again later, in this or another part."""


def read_schema(
    paths: Sequence[Path], features: Sequence[str], table_format: TableFormat, columns: Sequence[str] | None = None
) -> TableSchema:
    """Read the headers of files that form one table.

    Parameters
    ----------
    paths : sequence of Path
    features : sequence of str
        Columns that have to contain numbers.
    table_format : TableFormat
    columns : sequence of str, optional
        Columns to read in addition to the id; by default all.

    Raises
    ------
    DataError
        A column is missing or occurs twice, or the headers differ.
    """
    required = tuple(dict.fromkeys((*features, *(columns or ()))))
    first, *others = paths
    header = _read_header(first, required, table_format)
    for path in others:
        if (other := _read_header(path, required, table_format)) != header:
            here, there = next(pair for pair in zip([*other, ""], [*header, ""], strict=False) if pair[0] != pair[1])
            raise DataError(
                f"{path.name} row 1: column {here!r} differs from {there!r} in {first.name}: "
                "all files need the same columns in the same order"
            )
    return make_schema(header, features, table_format, columns)


def _read_header(path: Path, required: Sequence[str], table_format: TableFormat) -> list[str]:
    if not _is_parquet(path):
        return strict_reader.read_header(path, required, table_format)
    with connect(path.parent) as connection, _named_damage(path):
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet($path)", {"path": _escape_pattern(path)}).fetchall()
    header = [str(name) for name, *_ in described]
    check_header(path.name, header, required, table_format)
    return header


def load_files(paths: Sequence[Path], *, schema: TableSchema, folder: Path) -> LoadedTable:
    """Load files into a new database in `folder`, each with DuckDB, or with the strict reader if DuckDB rejects it.

    Faults are collected; if there are any, the rows are incomplete.

    Raises
    ------
    DataError
        A .gz file is damaged.
    """
    # A unique name: a worker that was given up for lost may still be writing what another one does again.
    database = folder / f"{secrets.token_hex(8)}.duckdb"
    faults = Faults(database.with_suffix(".faults.csv"))
    with connect(folder, database) as connection:
        create_table(connection, schema)
        for path in progress(paths, "load", len(paths), unit="file") if len(paths) > 1 else paths:
            try:
                load_with_duckdb(connection, path, schema)
            except duckdb.Error as error:
                _raise_resource_errors(error)
                log.info("%s is read row by row: %s", path.name, " ".join(str(error).split())[:200])
                faults.collect(partial(_load_strictly, connection, path, schema))
        (n_rows,) = connection.execute("SELECT count(*) FROM rows").fetchone() or (0,)
    return LoadedTable(database, n_rows, faults)


def create_table(connection: duckdb.DuckDBPyConnection, schema: TableSchema) -> None:
    """Create the table `rows`; its columns are named by position, because users' names may differ only in case."""
    types = ", ".join(f"c{position} {_type(schema, position)}" for position in schema.positions)
    connection.execute(f"CREATE TABLE rows ({types})")


def plan_parts(tables: Sequence[LoadedTable], is_duplicate: NDArray[np.bool_], rows_per_part: int) -> Iterator[PartSource]:
    """Divide tables into parts of `rows_per_part` rows; a part without remaining rows is omitted.

    Parameters
    ----------
    tables : sequence of LoadedTable
    is_duplicate : ndarray of shape (n_rows,)
        Mask of the rows to drop, as `find_duplicate_rows` returns it.
    rows_per_part : int
        Including duplicates.
    """
    *starts, n_rows = accumulate((table.n_rows for table in tables), initial=0)
    for first in range(0, n_rows, rows_per_part):
        end = min(first + rows_per_part, n_rows)
        ranges = tuple(
            RowRange(table.database, max(first - start, 0), min(end - start, table.n_rows))
            for table, start in zip(tables, starts, strict=True)
            if start < end and first < start + table.n_rows
        )
        if not is_duplicate[first:end].all():
            yield PartSource(ranges, is_duplicate[first:end])


def read_part(source: PartSource, schema: TableSchema) -> pd.DataFrame:
    """Read the rows of a part without duplicates.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns)
        Numbers as float64, missing ones as NaN; every other column as str.
    """
    with connect(source.ranges[0].database.parent, n_threads=1) as connection:  # the worker pool reads several parts at a time
        queries = []
        for number, (database, first, end) in enumerate(source.ranges):
            attach(connection, database, number)
            queries.append(f"SELECT * FROM d{number}.rows WHERE rowid >= {first} AND rowid < {end}")
        rows = connection.execute(" UNION ALL ".join(queries)).df()
    rows.columns = list(schema.columns)
    # DuckDB returns another dtype for a column without a single text.
    texts = [name for name, position in zip(schema.columns, schema.positions, strict=True) if not schema.is_number(position)]
    rows = rows.astype(dict.fromkeys(texts, "str"))
    return rows[~source.is_duplicate].reset_index(drop=True) if source.is_duplicate.any() else rows


def find_duplicate_rows(tables: Sequence[LoadedTable], schema: TableSchema) -> NDArray[np.bool_]:
    """Find the rows whose id occurs again in a later row.

    Returns
    -------
    ndarray of bool of shape (n_rows,)
        A mask of the rows of all tables together.
    """
    import numpy as np

    with connect(tables[0].database.parent) as connection:
        ids = next((f"c{position}" for position in schema.positions if schema.is_id(position)), "NULL")
        queries, offset = [], 0
        for number, table in enumerate(tables):
            attach(connection, table.database, number)
            queries.append(f"SELECT {ids} AS id, rowid + {offset} AS position FROM d{number}.rows")
            offset += table.n_rows
        connection.execute(f"CREATE TEMP VIEW ids AS {' UNION ALL '.join(queries)}")
        connection.execute(
            "CREATE TEMP TABLE repeated AS SELECT id, max(position) AS last FROM ids GROUP BY id HAVING count(*) > 1"
        )
        is_duplicate = np.zeros(offset, dtype=np.bool_)
        connection.execute("SELECT position FROM ids JOIN repeated USING (id) WHERE position < last")
        while len(chunk := connection.fetch_df_chunk(_CHUNK_VECTORS)):  # all at once would take 16 bytes per duplicate
            is_duplicate[chunk["position"]] = True
    return is_duplicate


@contextmanager
def connect(scratch: Path, database: Path | None = None, n_threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database, by default one in memory.

    Parameters
    ----------
    scratch : Path
        Folder for data that exceeds the memory limit.
    database : Path, optional
    n_threads : int, optional
        By default one for each core.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": n_threads or count_cores(),
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": str(scratch / f"{secrets.token_hex(8)}.spilled"),  # /tmp of a container is small
        "force_compression": "dictionary",  # choosing a method takes an eighth of the time to load
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "fsync_mode": "NONE",  # a database here is temporary
    }
    try:
        with duckdb.connect(database or ":memory:", config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        _raise_resource_errors(error)
        raise


def attach(connection: duckdb.DuckDBPyConnection, database: Path, number: int) -> None:
    """Attach a database for reading, with the name d0, d1 and so on."""
    connection.execute(f"ATTACH {quoted(str(database))} AS d{number} (READ_ONLY)")


def written_csv(file: BinaryIO) -> str:
    """Return the SQL of a CSV file that a stage wrote, with the columns that the version had that wrote it.

    All columns are text, and an empty cell is NULL.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    header = next(csv.reader(text))
    text.detach()  # leaves the file open
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in header)
    return (
        f"read_csv({quoted(str(file.name))}, auto_detect=false, header=true, columns={{{columns}}}, delim=',', quote='\"', "
        "escape='\"', nullstr='', strict_mode=true)"
    )


def _raise_resource_errors(error: duckdb.Error) -> None:
    """Raise errors that are not caused by the data."""
    if isinstance(error, duckdb.OutOfMemoryException):
        raise OutOfMemoryError("DuckDB needs more memory than it may use: make smaller parts (rows_per_part)") from None
    if "No space left on device" in str(error):
        raise OSError(errno.ENOSPC, str(error)) from None


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {error}: is it damaged, or of another kind?") from None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _type(schema: TableSchema, position: int) -> str:
    return "DOUBLE" if schema.is_number(position) else "VARCHAR"


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _escape_pattern(path: Path) -> str:
    return glob.escape(str(path))


def load_with_duckdb(connection: duckdb.DuckDBPyConnection, path: Path, schema: TableSchema) -> None:
    """Load a file into the table `rows`.

    Raises
    ------
    duckdb.Error
        The file is invalid or unusual; no row was loaded.
    """
    has_underscores = True
    if not _is_parquet(path):
        is_unusual, has_underscores = strict_reader.scan_bytes(path)
        if is_unusual:
            raise duckdb.InvalidInputException("zero bytes, blanks next to quotes, or long rows")
    columns = ", ".join(_convert(schema, position, has_underscores) for position in schema.positions)
    query = f"INSERT INTO rows SELECT {columns} FROM {_source(path, schema)}"
    # Otherwise query_progress() returns nothing.
    connection.execute("SET enable_progress_bar_print = false; SET enable_progress_bar = true")
    # Before a query reads its first rows, its progress is -1 percent.
    with polled_progress(lambda: connection.query_progress() / 100, f"load {path.name}", path.stat().st_size):
        connection.execute(query, {"path": _escape_pattern(path)})


def _source(path: Path, schema: TableSchema) -> str:
    """Return the SQL of a table with the text columns c0, c1 and so on."""
    names = [f"c{position}" for position in range(len(schema.header))]
    if _is_parquet(path):
        return f"(SELECT coalesce(COLUMNS(*)::VARCHAR, '') FROM read_parquet($path)) AS cells({', '.join(names)})"
    types = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    compression = "gzip" if path.suffix.lower() == ".gz" else "none"
    return (
        f"read_csv($path, auto_detect=false, header=true, columns={{{types}}}, compression='{compression}', "
        f"delim={quoted(DELIMITERS[schema.format.delimiter])}, quote='\"', escape='\"', strict_mode=true, "
        f"nullstr='{_NO_NULL}', max_line_size={_MAX_LINE_BYTES}, "
        f"buffer_size={_BUFFER_BYTES})"
    )


def _convert(schema: TableSchema, position: int, has_underscores: bool) -> str:
    """Return the SQL that converts and checks a cell; error() ends the query."""
    name, cell = schema.header[position], f"c{position}"
    error = f"error({quoted(name)} || ' is ' || {cell}[:40])"
    if schema.is_id(position):
        # trim() with a list of characters takes three times as long as reading an id.
        stripped = f"trim({cell}, {quoted(_BLANKS)})"
        is_plain = f"regexp_full_match({cell}, '[!-~]+')"
        is_invalid = f"{stripped} = '' OR contains({cell}, chr(0))"
        return f"CASE WHEN {is_plain} THEN {cell} WHEN {is_invalid} THEN {error} ELSE {stripped} END"
    if not schema.is_number(position):
        return f"CASE WHEN contains({cell}, chr(0)) THEN {error} ELSE nullif({cell}, '') END"
    number = cell if schema.format.decimal == "." else f"translate({cell}, '.,', 'x.')"
    value = f"TRY_CAST({number} AS DOUBLE)"
    is_valid = f"{value} BETWEEN {schema.min_number(position)} AND {MAX_NUMBER}"
    if has_underscores:
        is_valid += f" AND NOT contains({cell}, '_')"
    missing = ", ".join(map(quoted, MISSING_NUMBERS))
    return f"CASE WHEN {is_valid} THEN {value} WHEN {cell} IN ({missing}) THEN NULL ELSE {error} END"


def _load_strictly(connection: duckdb.DuckDBPyConnection, path: Path, schema: TableSchema, report: Report) -> None:
    if _is_parquet(path):
        records = _read_parquet_records(connection.cursor(), path, schema)
    else:
        records = strict_reader.read_records(path, schema.format, report)
    rows = strict_reader.check_records(path.name, records, schema, report)
    lists = ", ".join(f"unnest(?::{_type(schema, position)}[])" for position in schema.positions)
    while batch := list(_take_batch(rows)):
        connection.execute(f"INSERT INTO rows SELECT {lists}", [list(column) for column in zip(*batch, strict=True)])


def _take_batch(rows: Iterator[list[strict_reader.Cell]]) -> Iterator[list[strict_reader.Cell]]:
    n_characters = 0
    for row in islice(rows, _BATCH_ROWS):
        yield row
        n_characters += sum(len(cell) for cell in row if isinstance(cell, str))
        if n_characters > _BATCH_CHARACTERS:
            return


def _read_parquet_records(cursor: duckdb.DuckDBPyConnection, path: Path, schema: TableSchema) -> strict_reader.Records:
    with _named_damage(path):
        cursor.execute(f"SELECT * FROM {_source(path, schema)}", {"path": _escape_pattern(path)})
        row = 0
        while batch := cursor.fetchmany(_BATCH_ROWS):
            for record in batch:
                row += 1
                yield row, list(record)
