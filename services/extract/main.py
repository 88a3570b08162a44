"""Extract: read and check the customer table, and keep the last row of each customer."""

import difflib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from services.contract import artifacts
from services.contract.columns import CUSTOMER_ID
from services.contract.settings import ExtractSettings
from stagekit.errors import DataError
from stagekit.tables.duckdb_reader import (
    TABLE_SUFFIXES,
    PartSource,
    find_duplicate_rows,
    load_files,
    plan_parts,
    read_part,
    read_schema,
)
from stagekit.tables.faults import raise_if_faulty
from stagekit.tables.strict_reader import read_header
from stagekit.tables.table_schema import TableSchema
from stagekit.volume import files
from stagekit.volume.parts import OutputLocation, PendingPart
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

log = logging.getLogger(__name__)


class WrittenPart(NamedTuple):
    """A part in which each customer has one row: the last one with its id."""

    pending: PendingPart
    n_customers: int
    missing: dict[str, int]
    """Missing cells by column."""


def main(settings: ExtractSettings, work: Workspace) -> dict[str, Any]:
    """Write the customers in parts; returns the numbers of rows, duplicates, customers and missing values."""
    sources = work.user_files.find(settings.data_file, TABLE_SUFFIXES)
    _check_test_file(settings, work)
    paths = list(sources.values())
    target = work.output_location(artifacts.CUSTOMERS)
    n_bytes = sum(path.stat().st_size for path in paths)
    with worker_pool(settings.dask_scheduler, target.folder, n_bytes) as pool, files.fail_if_modified(paths):
        columns = settings.used_columns if settings.keep_columns == "used" else None
        schema = read_schema(paths, settings.feature_columns, settings.table_format, columns)
        digests = pool.map(files.digest_file, sources.values(), sources)
        load = partial(load_files, schema=schema, folder=work.scratch())
        # Without a cluster, DuckDB loads one table with all cores; on a cluster, each worker loads a file.
        tables = list(pool.map(load, [[path] for path in paths])) if settings.dask_scheduler else [load(paths)]
        raise_if_faulty([table.faults for table in tables], work)
        duplicates = find_duplicate_rows(tables, schema)
        write = partial(write_part, schema=schema, target=target)
        parts = list(pool.map(write, plan_parts(tables, duplicates, settings.rows_per_part)))
        work.user_files.record(digests)
    if not parts:
        raise DataError(f"{settings.data_file} has a header and no rows: expected one row per customer")
    for part in parts:
        work.add_part(artifacts.CUSTOMERS, part.pending)

    n_rows, n_customers = sum(table.n_rows for table in tables), sum(part.n_customers for part in parts)
    counts = {name: sum(part.missing[name] for part in parts) for name in schema.columns}
    missing = {name: count for name, count in counts.items() if count}
    log.info("read %s: %d rows, %d columns of %d", settings.data_file, n_rows, len(schema.columns), len(schema.header))
    if CUSTOMER_ID in schema.columns:
        log.info("dropped %d duplicates of %s, the last row of each is kept", n_rows - n_customers, settings.id_column)
    else:
        _warn_of_missing_ids(schema.header)
    log.info("missing values: %s", ", ".join(f"{name} {count}" for name, count in missing.items()) or "none")
    return {"rows_read": n_rows, "duplicates_dropped": n_rows - n_customers, "customers": n_customers, "missing": missing}


def write_part(source: PartSource, *, schema: TableSchema, target: OutputLocation) -> WrittenPart:
    """Read the rows of a part without duplicates and write them to `target`."""
    customers = read_part(source, schema)
    missing = {str(name): int(column.isna().to_numpy().sum()) for name, column in customers.items()}
    return WrittenPart(target.write(customers), len(customers), missing)


def _check_test_file(settings: ExtractSettings, work: Workspace) -> None:
    """Reject a file of new customers that `evaluate` would reject, before hours of training."""
    if settings.is_test_file_required:
        read_header(work.user_files.open(settings.test_file), settings.used_columns, settings.table_format)


def _warn_of_missing_ids(header: Sequence[str]) -> None:
    similar = difflib.get_close_matches(CUSTOMER_ID.lower(), [name.lower() for name in header], n=1, cutoff=0.4)
    hint = next((f" (is it {name!r}?)" for name in header if name.lower() in similar), "")
    log.warning("no column %s: each row is a customer; name the column of ids with --id-column%s", CUSTOMER_ID, hint)
