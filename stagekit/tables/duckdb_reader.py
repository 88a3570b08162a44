"""Customer tables as rows of a DuckDB file: CSV and Parquet are loaded strictly, by all cores, and read again in parts.

DuckDB reads every cell as text, and SQL converts and checks it: what its own conversion accepts beyond `tables.py` (1_0, inf,
missing values by other names) is refused there. Whenever DuckDB or a check refuses anything, the strict reader of `tables.py`
reads the whole file; it decides what is valid, and finds every fault.
"""

from __future__ import annotations

import errno
import glob
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from stagekit.errors import DataError, OutOfMemoryError
from stagekit.tables import strict_reader as tables
from stagekit.tables.faults import Faults, Report
from stagekit.tables.strict_reader import Schema, TableFormat
from stagekit.workers.progress import progress
from stagekit.workers.worker_pool import count_cores

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

PARQUET = ".parquet"

_MEMORY = "400MiB"  # of one connection; what does not fit goes to the folder of the database
_MAX_LINE_BYTES = 131_072  # csv.field_size_limit(): the strict reader refuses a longer cell
_NO_NULL = "\x01\x01"  # DuckDB ignores cells that stand for NULL after the last column, so nothing must
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x10000))))  # what str.strip() removes
_BATCH_ROWS = 20_000
_BATCH_CHARACTERS = 1 << 24
_BLOCK = 1 << 22
_WINDOW = 1 << 16  # half of the longest line: a longer one fills a window without a line end

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """Rows of one or several files, in their order, in the table `customers` of a database."""

    database: Path
    n_rows: int
    faults: Faults


class Span(NamedTuple):
    """Some rows of a database: from `first` up to, but not including, `end`."""

    database: Path
    first: int
    end: int


def read_schema(
    paths: Sequence[Path], feature_columns: Sequence[str], table_format: TableFormat, keep: Sequence[str] | None = None
) -> Schema:
    """Read the headers of files that are to be one table; the columns in `keep` and the id are kept, or all.

    Raises DataError if a feature or a column in `keep` is missing, a name is duplicated, or the headers differ.
    """
    needed = tuple(dict.fromkeys((*feature_columns, *(keep or ()))))
    first, *others = paths
    header = _read_header(first, needed, table_format)
    for path in others:
        if (other := _read_header(path, needed, table_format)) != header:
            here, there = next(pair for pair in zip([*other, ""], [*header, ""], strict=False) if pair[0] != pair[1])
            raise DataError(
                f"{path.name} row 1: column {here!r} stands where {first.name} has {there!r}: "
                "all files need the same columns in the same order"
            )
    kept = (table_format.id_column, *(header if keep is None else keep))
    positions = tuple(position for position, name in enumerate(header) if name in kept)
    return Schema(tuple(header), positions, tables.numeric_columns(header, feature_columns, table_format), table_format)


def _read_header(path: Path, needed: Sequence[str], table_format: TableFormat) -> list[str]:
    if path.suffix.lower() != PARQUET:
        return tables.read_header(path, needed, table_format)
    with connect(path.parent) as connection, _explained(path):
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet($path)", {"path": _literally(path)}).fetchall()
    header = [str(name) for name, *_ in described]
    tables.check_header(path.name, header, needed, table_format)
    return header


def load(paths: Sequence[Path], *, schema: Schema, folder: Path) -> Loaded:
    """Load files into a new database in `folder`, each with DuckDB, or with the strict reader if DuckDB refuses it.

    Faults are collected; with any, the rows are of no use. Raises DataError if a .gz file is damaged.
    """
    # A name of its own: a worker that was given up may still be writing what another one does again.
    database = folder / f"{secrets.token_hex(8)}.duckdb"
    faults = Faults(database.with_suffix(".faults.csv"))
    with connect(folder, database) as connection:
        create_table(connection, schema)
        for path in progress(paths, "load", len(paths), unit="file"):
            try:
                if _has_odd_bytes(path):
                    raise duckdb.InvalidInputException("zero bytes, blanks beside quotes or long rows")
                _load_fast(connection, path, schema)
            except duckdb.Error as error:
                _raise_if_resources(error)
                log.info("%s is read row by row: %s", path.name, " ".join(str(error).split())[:200])
                faults.collect(partial(_load_strictly, connection, path, schema))
        (n_rows,) = connection.execute("SELECT count(*) FROM customers").fetchone() or (0,)
    return Loaded(database, n_rows, faults)


def create_table(connection: duckdb.DuckDBPyConnection, schema: Schema) -> None:
    """Create the table `customers`, its columns named by their positions: users' names may differ in case only."""
    types = ", ".join(f"c{position} {_type(schema, position)}" for position in schema.kept)
    connection.execute(f"CREATE TABLE customers ({types})")


def read_part(spans: Sequence[Span], schema: Schema) -> pd.DataFrame:
    """Read rows of databases.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns) : numbers as float64, missing ones as NaN; every other column as text
    """
    with connect(spans[0].database.parent) as connection:
        pieces = []
        for number, span in enumerate(spans):
            attach(connection, span.database, number)
            pieces.append(f"SELECT * FROM d{number}.customers WHERE rowid >= {span.first} AND rowid < {span.end}")
        rows = connection.execute(" UNION ALL ".join(pieces)).df()
    rows.columns = list(schema.columns)
    # A column without a single text arrives with another dtype.
    dtypes = {
        name: "str" for name, position in zip(schema.columns, schema.kept, strict=True) if _type(schema, position) != "DOUBLE"
    }
    return rows.astype(dtypes)


def find_earlier_rows(loaded: Sequence[Loaded], schema: Schema) -> NDArray[np.int64] | None:
    """Find the rows whose id has a later row: their positions in all tables together, ascending; None without ids."""
    if tables.CUSTOMER_ID not in schema.columns:
        return None
    column = f"c{schema.kept[schema.columns.index(tables.CUSTOMER_ID)]}"
    with connect(loaded[0].database.parent) as connection:
        pieces, offset = [], 0
        for number, one in enumerate(loaded):
            attach(connection, one.database, number)
            pieces.append(f"SELECT {column} AS id, rowid + {offset} AS position FROM d{number}.customers")
            offset += one.n_rows
        connection.execute(f"CREATE TEMP VIEW ids AS {' UNION ALL '.join(pieces)}")
        connection.execute(
            "CREATE TEMP TABLE repeated AS SELECT id, max(position) AS last FROM ids GROUP BY id HAVING count(*) > 1"
        )
        earlier = "SELECT position FROM ids JOIN repeated USING (id) WHERE position < last ORDER BY position"
        return connection.execute(earlier).fetchnumpy()["position"]  # type: ignore[return-value]


@contextmanager
def connect(scratch: Path, database: Path | None = None, n_threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database, or one in memory; it uses all cores or `n_threads`, and `scratch` for what exceeds its memory limit."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": n_threads or count_cores(),
        "memory_limit": _MEMORY,
        "temp_directory": str(scratch / f"{secrets.token_hex(8)}.spilled"),  # /tmp of a container is small
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(database or ":memory:", config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        _raise_if_resources(error)
        raise


def attach(connection: duckdb.DuckDBPyConnection, database: Path, number: int) -> None:
    """Attach a database for reading, with the names d0, d1 and so on."""
    connection.execute(f"ATTACH {quoted(str(database))} AS d{number} (READ_ONLY)")


def _raise_if_resources(error: duckdb.Error) -> None:
    """Raise what is no fault of the data."""
    if isinstance(error, duckdb.OutOfMemoryException):
        raise OutOfMemoryError("DuckDB needs more memory than it may use: make smaller parts (rows_per_part)") from None
    if "No space left on device" in str(error):
        raise OSError(errno.ENOSPC, str(error)) from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {error}: is it damaged, or of another kind?") from None


def _type(schema: Schema, position: int) -> str:
    return "DOUBLE" if schema.header[position] in schema.numeric else "VARCHAR"


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _literally(path: Path) -> str:
    return glob.escape(str(path))


def _load_fast(connection: duckdb.DuckDBPyConnection, path: Path, schema: Schema) -> None:
    columns = ", ".join(_expression(schema, position) for position in schema.kept)
    connection.execute(f"INSERT INTO customers SELECT {columns} FROM {_source(path, schema)}", {"path": _literally(path)})


def _source(path: Path, schema: Schema) -> str:
    """Write the SQL of a table with columns c0, c1, … of text."""
    names = [f"c{position}" for position in range(len(schema.header))]
    if path.suffix.lower() == PARQUET:
        return f"(SELECT coalesce(COLUMNS(*)::VARCHAR, '') FROM read_parquet($path)) AS rows({', '.join(names)})"
    types = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    compression = "gzip" if path.suffix.lower() == ".gz" else "none"
    return (
        f"read_csv($path, auto_detect=false, header=true, columns={{{types}}}, compression='{compression}', "
        f"delim={quoted(tables.DELIMITERS[schema.format.delimiter])}, quote='\"', escape='\"', strict_mode=true, "
        f"nullstr='{_NO_NULL}', max_line_size={_MAX_LINE_BYTES})"
    )


def _expression(schema: Schema, position: int) -> str:
    """Write the SQL that converts and checks a cell; error() ends the query."""
    name, cell = schema.header[position], f"c{position}"
    refuse = f"error({quoted(name)} || ' is ' || {cell}[:40])"
    if name == schema.format.id_column:
        stripped = f"trim({cell}, {quoted(_BLANKS)})"
        return f"CASE WHEN {stripped} = '' OR contains({cell}, chr(0)) THEN {refuse} ELSE {stripped} END"
    if name not in schema.numeric:
        return f"CASE WHEN contains({cell}, chr(0)) THEN {refuse} ELSE nullif({cell}, '') END"
    number = cell if schema.format.decimal == "." else f"translate({cell}, '.,', 'x.')"
    value = f"TRY_CAST({number} AS DOUBLE)"
    is_valid = f"{value} BETWEEN {tables.lowest_number(name)} AND {tables.LARGEST_NUMBER} AND NOT contains({cell}, '_')"
    missing = ", ".join(map(quoted, tables.MISSING))
    return f"CASE WHEN {is_valid} THEN {value} WHEN {cell} IN ({missing}) THEN NULL ELSE {refuse} END"


def _has_odd_bytes(path: Path) -> bool:
    """Return whether a CSV file has what DuckDB does not report: zero bytes, blanks beside quotes, or very long rows.

    It drops blanks beside quotes and a last row that is longer than its buffer; a long row that it does report is in memory
    several times. Of a .gz file this also checks the digest, which DuckDB ignores.

    Raises DataError if a .gz file is damaged.
    """
    if path.suffix.lower() == PARQUET:
        return False
    last, n_quotes = b"", 0
    for block in tables.read_blocks(path, _BLOCK):
        has_quotes = b'"' in block
        if b"\0" in block or last + block[:1] in (b'" ', b' "') or (has_quotes and (b'" ' in block or b' "' in block)):
            return True
        last = block[-1:]
        for start in range(0, len(block), _WINDOW):
            end = start + _WINDOW
            if end <= len(block) and not _has_row_end(block, start, end, n_quotes):
                return True
            n_quotes += block.count(b'"', start, end) if has_quotes else 0
    return False


def _has_row_end(block: bytes, start: int, end: int, n_quotes: int) -> bool:
    """Return whether there is a line end outside quotes, of which `n_quotes` come before `start`."""
    while (line_end := block.find(b"\n", start, end)) >= 0:
        n_quotes += block.count(b'"', start, line_end)
        if n_quotes % 2 == 0:
            return True
        start = line_end + 1
    return False


def _load_strictly(connection: duckdb.DuckDBPyConnection, path: Path, schema: Schema, report: Report) -> None:
    if path.suffix.lower() == PARQUET:
        records = _parquet_records(connection.cursor(), path, schema)
    else:
        records = tables.records_of(path, schema.format, report)
    rows = tables.check_records(path.name, records, schema, report)
    lists = ", ".join(f"unnest(?::{_type(schema, position)}[])" for position in schema.kept)
    while batch := list(_batch(rows)):
        connection.execute(f"INSERT INTO customers SELECT {lists}", [list(column) for column in zip(*batch, strict=True)])


def _batch(rows: Iterator[list[tables.Cell]]) -> Iterator[list[tables.Cell]]:
    n_characters = 0
    for row in islice(rows, _BATCH_ROWS):
        yield row
        n_characters += sum(len(cell) for cell in row if isinstance(cell, str))
        if n_characters > _BATCH_CHARACTERS:
            return


def _parquet_records(cursor: duckdb.DuckDBPyConnection, path: Path, schema: Schema) -> Iterator[tuple[int, list[str]]]:
    with _explained(path):
        cursor.execute(f"SELECT * FROM {_source(path, schema)}", {"path": _literally(path)})
        row = 0
        while batch := cursor.fetchmany(_BATCH_ROWS):
            for record in batch:
                row += 1
                yield row, list(record)
