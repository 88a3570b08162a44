"""Extract: read the customer table, check it, keep each customer once."""

import logging
from typing import Any

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.settings import ExtractSettings
from services.extract.customers import count_missing, keep_last, read_customers

log = logging.getLogger(__name__)


def main(settings: ExtractSettings, work: Workspace) -> dict[str, Any]:
    rows = read_customers(work.data_file(settings.data_file), settings.feature_columns)
    log.info("read %s: %d rows, %d columns", settings.data_file, *rows.shape)

    customers = keep_last(rows)
    duplicates = len(rows) - len(customers)
    missing = count_missing(customers)
    log.info("dropped %d duplicates of CUST_ID, the last row of each is kept", duplicates)
    log.info("missing values: %s", ", ".join(f"{name} {count}" for name, count in missing.items()) or "none")

    work.save(artifacts.CUSTOMERS, customers)
    return {"rows_read": len(rows), "duplicates_dropped": duplicates, "customers": len(customers), "missing": missing}
