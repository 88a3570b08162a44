"""Score: put the customers of a new file into the active segments, without training anything."""

import logging
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract import artifacts
from services.contract.preparation import GroupCounts, Preparation
from services.contract.settings import ScoreSettings
from services.segment import groups
from services.segment.assignment import to_segmenter
from services.segment.membership import find_previous_membership, split_by_part
from services.segment.part_tasks import CustomerPart, add_up, count_customers, split_ids, take_ids
from services.segment.segments_csv import score_part
from stagekit.errors import DataError, MissingInputError
from stagekit.tables.duckdb_reader import TABLE_SUFFIXES, Loaded, Span, find_earlier_rows, load, read_part, read_schema
from stagekit.tables.faults import refuse_faults
from stagekit.tables.strict_reader import CUSTOMER_ID, Schema
from stagekit.volume import files
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

_ROWS_PER_PART = 250_000

log = logging.getLogger(__name__)


class PartRows(NamedTuple):
    """The rows of a part of the file."""

    span: Span
    earlier: NDArray[np.int64]
    """Positions in the part of the rows whose id has a later row, ascending."""


def main(settings: ScoreSettings, work: Workspace) -> dict[str, Any]:
    """Score the customers of a file; the result has the counts."""
    registry = work.read_registry(lock=False)
    active_run = registry.entry(registry.active_run)
    if active_run is None:
        raise MissingInputError("no segments are active: run all stages first, until segment publishes some")
    segmenter = to_segmenter(work.load_published(active_run, artifacts.SEGMENTER))
    loaded, schema = _load_file(settings, work, segmenter.preparation)
    earlier = find_earlier_rows([loaded], schema)
    n_duplicates = 0 if earlier is None else len(earlier)
    n_customers = loaded.n_rows - n_duplicates
    log.info("read %s: %d customers; the segments of run %s are active", settings.score, n_customers, active_run.run)
    if n_duplicates:
        log.info("dropped %d rows with a duplicate %s: the last row of each customer is kept", n_duplicates, CUSTOMER_ID)

    with worker_pool() as pool:
        read = partial(_read_part, schema=schema, preparation=segmenter.preparation, folder=work.scratch())
        parts = pool.persist(read, _plan_parts(loaded, earlier))
        sizes = parts.map(count_customers)
        databases = [database for database in parts.map(take_ids) if database]
        membership = None
        if segmenter.has_ids and databases:
            published = work.open_published(active_run, artifacts.SEGMENTS)
            membership = find_previous_membership(published, databases, sizes, work.scratch())
        firsts = [sum(sizes[:number]) for number in range(len(sizes))]
        write = partial(score_part, segmenter=segmenter, csv=work.output_location(artifacts.SCORES))
        scored = parts.map(write, firsts, split_by_part(membership, sizes))
    for part in scored:
        work.add_part(artifacts.SCORES, part.csv)

    segment_sizes = np.sum([part.sizes for part in scored], axis=0)
    n_unassigned, n_outside = n_customers - int(segment_sizes.sum()), sum(part.n_outside for part in scored)
    ungrouped = groups.group_reasons(segmenter.preparation, GroupCounts(*add_up([part.groups for part in scored])))
    log.info("%d customers have no segment, %d are outside the training range", n_unassigned, n_outside)
    for reason, count in ungrouped.items():
        log.info("standardised like all customers together: %d with %s", count, reason)
    if warning := groups.find_warning(ungrouped, n_customers):
        log.warning("%s", warning)
    for segment_id, name, size in sorted(zip(segmenter.segment_ids, segmenter.names, segment_sizes, strict=True)):
        log.info("segment %d, %s: %d customers", segment_id, name, size)
    return {
        "scores": str(work.path / work.output_name(artifacts.SCORES)),
        "active_run": active_run.run,
        "rows": n_customers,
        "duplicates_dropped": n_duplicates,
        "unassigned": n_unassigned,
        "ungrouped": sum(ungrouped.values()),
        "outside_training_range": n_outside,
    }


def _load_file(settings: ScoreSettings, work: Workspace, preparation: Preparation) -> tuple[Loaded, Schema]:
    """Load the ids and the columns that `preparation` needs, as strictly as extract reads a table."""
    sources = work.user_files.find(settings.score, TABLE_SUFFIXES)
    paths = list(sources.values())
    with files.fail_if_modified(paths):
        schema = read_schema(paths, preparation.feature_columns, settings.table_format, preparation.columns)
        loaded = load(paths, schema=schema, folder=work.scratch())
        work.user_files.record(files.digest_file(path, name) for name, path in sources.items())
    refuse_faults([loaded.faults], work)
    if not loaded.n_rows:
        raise DataError(f"{settings.score} has a header and no rows: expected one row per customer")
    return loaded, schema


def _plan_parts(loaded: Loaded, earlier: NDArray[np.int64] | None) -> list[PartRows]:
    """Divide the rows of a file into parts; a part of which no row remains is left out."""
    dropped = np.empty(0, np.int64) if earlier is None else earlier
    parts = []
    for first in range(0, loaded.n_rows, _ROWS_PER_PART):
        end = min(first + _ROWS_PER_PART, loaded.n_rows)
        low, high = np.searchsorted(dropped, [first, end])
        if high - low < end - first:
            parts.append(PartRows(Span(loaded.database, first, end), dropped[low:high] - first))
    return parts


def _read_part(rows: PartRows, *, schema: Schema, preparation: Preparation, folder: Path) -> CustomerPart:
    customers = read_part([rows.span], schema)
    if rows.earlier.size:
        customers = customers.drop(index=rows.earlier.tolist()).reset_index(drop=True)
    return split_ids(customers, preparation.columns, folder)
