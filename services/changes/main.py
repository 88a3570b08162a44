"""Changes: write the segment of every customer for a CRM, and what a publication has changed."""

import logging
from typing import Any

from services.changes.crm import CustomerTables, Publication
from services.contract import artifacts
from services.contract.segment_registry import SegmentRegistry, SegmentRunEntry
from stagekit.errors import MissingInputError
from stagekit.settings import StageSettings
from stagekit.tables.duckdb_reader import connect
from stagekit.volume.workspace import Workspace

log = logging.getLogger(__name__)


def main(_: StageSettings, work: Workspace) -> dict[str, Any]:
    registry = work.read_registry(lock=False)
    entry, previous = _find_publications(registry, work.run)
    scratch = work.scratch()
    with connect(scratch, scratch / "customers.duckdb") as connection:
        tables = CustomerTables(connection, _describe(entry), _describe(previous) if previous else None)
        tables.add_current(work.open_published(entry, artifacts.SEGMENTS))
        if previous:
            _add_previous(tables, previous, work)
        with work.open_part(artifacts.CRM) as file:
            tables.write_crm(file.name)
        with work.open_part(artifacts.CHANGED) as file:
            counts = tables.write_changed(file.name)
    for old_name, new_name, n_customers in counts.moves:
        log.info("from %s to %s: %d", old_name, new_name, n_customers)
    log.info("%d customers: %s", counts.customers, ", ".join(f"{n} {change}" for change, n in counts.changes.items()))
    return {"run": work.run, "customers": counts.customers, **counts.changes}


def _find_publications(registry: SegmentRegistry, run: str) -> tuple[SegmentRunEntry, SegmentRunEntry | None]:
    """Find the entry of a run and that of the run which was active before it was published, None if there was none."""
    kept = ", ".join(kept.run for kept in registry.kept_runs()) or "none yet"
    entry = registry.entry(run)
    if entry is None or entry.publication is None:
        raise MissingInputError(f"run {run} has published no segments that are still kept: name one that has ({kept})")
    previous = registry.entry(entry.predecessor)
    if entry.predecessor and (previous is None or previous.publication is None):
        raise MissingInputError(
            f"run {run} followed run {entry.predecessor}, of which nothing is kept any more: name a later run ({kept})"
        )
    return entry, previous


def _describe(entry: SegmentRunEntry) -> Publication:
    assert entry.publication is not None
    return Publication(entry.publication.segments, (entry.first_published or entry.publication.published).date())


def _add_previous(tables: CustomerTables, previous: SegmentRunEntry, work: Workspace) -> None:
    """Add the previous customers with the dates of their last changes, if crm.csv of the previous publication was written."""
    try:
        tables.add_previous_crm(work.open_made_from(previous, artifacts.CRM))
    except MissingInputError as error:
        log.info("dates of earlier changes are not known, that of run %s is used instead: %s", previous.run, error)
        tables.add_previous(work.open_published(previous, artifacts.SEGMENTS))
    if not tables.are_ids_known():
        log.warning("the tables have no CUST_ID, so customers cannot be compared with run %s", previous.run)
        tables.forget_previous()
