"""Extract: read the customer table, check it, keep each customer once."""

import logging
from typing import Any

from services.contract import artifacts, files
from services.contract.artifacts import Workspace
from services.contract.errors import DataError
from services.contract.settings import ExtractSettings
from services.contract.tables import CUSTOMER_ID, read_header
from services.contract.workers import workers
from services.extract.customers import read_table
from services.extract.pieces import cut, unpack
from services.extract.reading import keep_last, look_ahead

log = logging.getLogger(__name__)


def main(settings: ExtractSettings, work: Workspace) -> dict[str, Any]:
    sources = work.data_files(settings.data_file)
    _check_test_file(settings, work)
    target = work.target(artifacts.CUSTOMERS)
    n_bytes = sum(path.stat().st_size for path in sources.values())
    with workers(settings.dask_scheduler, target[0], n_bytes) as several, files.unchanged(sources.values()):
        packed = [path for path in sources.values() if path.suffix.lower() == ".gz"]
        folders = [work.scratch() / str(number) for number in range(len(packed))]
        unpacked = dict(zip(packed, several.map(unpack, packed, folders), strict=True))
        paths = [unpacked.get(path, path) for path in sources.values()]

        table = read_table(paths, settings.feature_columns, _used_columns(settings))
        pieces = cut(paths, settings.part_rows)
        ahead = look_ahead(pieces, table, several)
        digests = several.map(files.record_of, sources.values(), sources)  # while it is told who comes again
        parts = keep_last(pieces, ahead, table, target, several)
        if not parts:
            raise DataError(f"{settings.data_file} has a header and no rows: expected one row per customer")
        work.read(digests)

    rows, customers = sum(part.n_rows for part in parts), sum(part.n_customers for part in parts)
    log.info("read %s: %d rows, %d columns of %d", settings.data_file, rows, len(table.columns), len(table.header))
    log.info("dropped %d duplicates of CUST_ID, the last row of each is kept", rows - customers)
    counts = {name: sum(part.missing[name] for part in parts) for name in table.columns}
    missing = {name: count for name, count in counts.items() if count}
    log.info("missing values: %s", ", ".join(f"{name} {count}" for name, count in missing.items()) or "none")

    for part in parts:
        if part.n_customers:
            work.add(artifacts.CUSTOMERS, part.draft)
    return {"rows_read": rows, "duplicates_dropped": rows - customers, "customers": customers, "missing": missing}


def _check_test_file(settings: ExtractSettings, work: Workspace) -> None:
    """Refuse a file of new customers that `evaluate` would refuse, before hours of training."""
    if settings.is_test_file_required:
        scale_by = [settings.scale_by] if settings.scale_by else []
        read_header(work.data_file(settings.test_file), [*settings.feature_columns, *scale_by])


def _used_columns(settings: ExtractSettings) -> set[str] | None:
    """Name the columns that later stages look at, where only those are to be kept."""
    return {CUSTOMER_ID, *settings.feature_columns, settings.scale_by} if settings.keep_columns == "used" else None
