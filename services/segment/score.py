"""Score: put the customers of a new file into the segments in force, without training anything."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.contract.settings import ScoreSettings
from services.segment import groups
from services.segment.assignment import NOBODY, Segmenter
from services.segment.part_tasks import assign_all, count_groups, join, map_with_previous_ids, write_part
from services.segment.segments_csv import keep_last, read_members
from stagekit.errors import DataError, MissingInputError
from stagekit.tables.duckdb_reader import RowRange, load_files, read_part, read_schema
from stagekit.tables.faults import raise_if_faulty
from stagekit.volume import files
from stagekit.volume import workspace as artifacts
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

_PART_ROWS = 500_000

log = logging.getLogger(__name__)


def main(settings: ScoreSettings, work: Workspace) -> dict[str, Any]:
    register = work.register(hold=False)
    in_force = register.entry(register.in_force)
    if in_force is None:
        raise MissingInputError("no segments are in force: run all stages first, until segment publishes some")
    segmenter = Segmenter(**work.load_published(in_force, artifacts.SEGMENTER))
    rows = _read_customers(settings, work, segmenter.preparation)
    parts = keep_last(rows)
    customers = sum(map(len, parts))
    duplicates = sum(map(len, rows)) - customers
    del rows
    log.info("read %s: %d customers; in force are the segments of run %s", settings.score, customers, in_force.run)
    if duplicates:
        log.info("dropped %d rows whose %s comes again: the last row of each customer counts", duplicates, CUSTOMER_ID)

    with worker_pool() as pool:
        held = pool.persist(_itself, parts)
        members = None
        if segmenter.has_ids and CUSTOMER_ID in parts[0]:
            members = read_members(work.open_published(in_force, artifacts.SEGMENTS), join(held, [CUSTOMER_ID])[CUSTOMER_ID])
        assignment = assign_all(held, segmenter.preparation, segmenter.centroids)
        ungrouped = groups.reasons(segmenter.preparation, count_groups(held, segmenter.preparation))
        outside = sum(held.map(partial(_count_outside, preparation=segmenter.preparation)))
        write = partial(write_part, segmenter=segmenter, target=work.target(artifacts.SCORES), scores=True)
        for draft in map_with_previous_ids(held, write, members):
            work.add(artifacts.SCORES, draft)

    sizes = np.bincount(assignment.cluster[assignment.assigned], minlength=len(segmenter.centroids))
    unassigned = int((assignment.cluster == NOBODY).sum())
    log.info("%d customers have no segment, %d are outside the training range", unassigned, outside)
    for reason, count in ungrouped.items():
        log.info("standardised like all customers together: %d with %s", count, reason)
    if warning := groups.find_warning(ungrouped, customers):
        log.warning("%s", warning)
    for segment_id, name, size in sorted(zip(segmenter.segment_ids, segmenter.names, sizes, strict=True)):
        log.info("segment %d, %s: %d customers", segment_id, name, size)
    return {
        "scores": str(work.place / work.form(artifacts.SCORES)),
        "in_force": in_force.run,
        "rows": customers,
        "duplicates_dropped": duplicates,
        "unassigned": unassigned,
        "ungrouped": sum(ungrouped.values()),
        "outside_training_range": outside,
    }


def _read_customers(settings: ScoreSettings, work: Workspace, preparation: Preparation) -> list[pd.DataFrame]:
    """Read the ids and the columns that `preparation` needs, as strictly as extract reads a table."""
    sources = work.data_files(settings.score)
    paths = list(sources.values())
    with files.unchanged(paths):
        schema = read_schema(paths, preparation.feature_columns, settings.table_format, preparation.columns)
        loaded = load_files(paths, schema=schema, folder=work.scratch())
        work.read(files.digest_file(path, name) for name, path in sources.items())
    raise_if_faulty([loaded.faults], work)
    if not loaded.n_rows:
        raise DataError(f"{settings.score} has a header and no rows: expected one row per customer")
    firsts = range(0, loaded.n_rows, _PART_ROWS)
    return [read_part([RowRange(loaded.database, first, first + _PART_ROWS)], schema) for first in firsts]


def _itself(customers: pd.DataFrame) -> pd.DataFrame:
    return customers


def _count_outside(customers: pd.DataFrame, *, preparation: Preparation) -> int:
    return int(preparation.outside_training_range(customers).any(axis="columns").sum())
