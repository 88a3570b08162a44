"""Score: put the customers of a new file into the active segments, without training anything."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.contract import artifacts
from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import GroupCounts, Preparation
from services.contract.settings import ScoreSettings
from services.segment.assignment import to_segmenter
from services.segment.gate import find_group_warning, group_reasons
from services.segment.membership import find_previous_membership, split_by_part
from services.segment.part_tasks import CustomerPart, add_up, split_ids
from services.segment.segments_csv import find_first_rows, score_part
from stagekit.errors import DataError, MissingInputError
from stagekit.tables.duckdb_reader import (
    TABLE_SUFFIXES,
    LoadedTable,
    PartSource,
    find_duplicate_rows,
    load_files,
    plan_parts,
    read_part,
    read_schema,
)
from stagekit.tables.faults import raise_if_faulty
from stagekit.tables.table_schema import TableSchema
from stagekit.volume import files
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

_ROWS_PER_PART = 250_000

log = logging.getLogger(__name__)


def main(settings: ScoreSettings, work: Workspace) -> dict[str, Any]:
    """Score the customers of a file; the result has the counts."""
    registry = work.read_registry(lock=False)
    active_run = registry.entry(registry.active_run)
    if active_run is None:
        raise MissingInputError("no segments are active: run all stages first, until segment publishes some")
    segmenter = to_segmenter(work.load_published(active_run, artifacts.SEGMENTER))
    loaded, schema = _load_file(settings, work, segmenter.preparation)
    is_duplicate = find_duplicate_rows([loaded], schema)
    n_duplicates = int(is_duplicate.sum())
    n_customers = loaded.n_rows - n_duplicates
    log.info("read %s: %d customers; the segments of run %s are active", settings.score, n_customers, active_run.run)
    if n_duplicates:
        log.info("dropped %d rows with a duplicate %s: the last row of each customer is kept", n_duplicates, CUSTOMER_ID)

    with worker_pool() as pool:
        read = partial(_read_part, schema=schema, preparation=segmenter.preparation, folder=work.scratch())
        parts = pool.persist(read, plan_parts([loaded], is_duplicate, _ROWS_PER_PART))
        published = work.open_published(active_run, artifacts.SEGMENTS)
        membership = find_previous_membership(published, parts, work.scratch()) if segmenter.has_ids else None
        write = partial(score_part, segmenter=segmenter, csv=work.output_location(artifacts.SCORES))
        scored = parts.map(write, find_first_rows(parts), split_by_part(membership, parts))
    for part in scored:
        work.add_part(artifacts.SCORES, part.csv)

    segment_sizes = np.sum([part.sizes for part in scored], axis=0)
    n_unassigned, n_outside = n_customers - int(segment_sizes.sum()), sum(part.n_outside for part in scored)
    ungrouped = group_reasons(segmenter.preparation, GroupCounts(*add_up([part.groups for part in scored])))
    log.info("%d customers have no segment, %d are outside the training range", n_unassigned, n_outside)
    for reason, count in ungrouped.items():
        log.info("standardised like all customers together: %d with %s", count, reason)
    if warning := find_group_warning(ungrouped, n_customers):
        log.warning("%s", warning)
    for segment_id, name, size in sorted(zip(segmenter.segment_ids, segmenter.names, segment_sizes, strict=True)):
        log.info("segment %d, %s: %d customers", segment_id, name, size)
    return {
        "scores": str(work.folder.relative_path / work.folder.output_name(artifacts.SCORES)),
        "active_run": active_run.run,
        "rows": n_customers,
        "duplicates_dropped": n_duplicates,
        "unassigned": n_unassigned,
        "ungrouped": sum(ungrouped.values()),
        "outside_training_range": n_outside,
    }


def _load_file(settings: ScoreSettings, work: Workspace, preparation: Preparation) -> tuple[LoadedTable, TableSchema]:
    """Load the ids and the columns that `preparation` needs, as strictly as extract reads a table."""
    sources = work.user_files.find(settings.score, TABLE_SUFFIXES)
    paths = list(sources.values())
    with files.fail_if_modified(paths):
        schema = read_schema(paths, preparation.feature_columns, settings.table_format, preparation.columns)
        loaded = load_files(paths, schema=schema, folder=work.scratch())
        work.user_files.record(files.digest_file(path, name) for name, path in sources.items())
    raise_if_faulty([loaded.faults], work)
    if not loaded.n_rows:
        raise DataError(f"{settings.score} has a header and no rows: expected one row per customer")
    return loaded, schema


def _read_part(source: PartSource, *, schema: TableSchema, preparation: Preparation, folder: Path) -> CustomerPart:
    return split_ids(read_part(source, schema), preparation.columns, folder)
