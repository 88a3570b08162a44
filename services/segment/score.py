"""Score: put the customers of a new file into the segments in force, without training anything."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import MissingInputError
from services.contract.preparation import Preparation
from services.contract.settings import ScoreSettings
from services.contract.tables import CUSTOMER_ID
from services.contract.workers import workers
from services.segment import groups
from services.segment.assignment import NOBODY, Segmenter
from services.segment.parts import assign_all, count_groups, each_with_previous, join, write_part
from services.segment.table import keep_last, read_customers, read_members

log = logging.getLogger(__name__)


def main(settings: ScoreSettings, work: Workspace) -> dict[str, Any]:
    register = work.register(hold=False)
    in_force = register.entry(register.in_force)
    if in_force is None:
        raise MissingInputError("no segments are in force: run all stages first, until segment publishes some")
    segmenter = Segmenter(**work.load_published(in_force, artifacts.SEGMENTER))
    rows = list(read_customers(work.data_file(settings.score), segmenter.preparation))
    parts = keep_last(rows)
    customers = sum(map(len, parts))
    duplicates = sum(map(len, rows)) - customers
    del rows
    log.info("read %s: %d customers; in force are the segments of run %s", settings.score, customers, in_force.run)
    if duplicates:
        log.info("dropped %d rows whose %s comes again: the last row of each customer counts", duplicates, CUSTOMER_ID)

    with workers() as several:
        held = several.hold(_itself, parts)
        members = None
        if segmenter.has_ids and CUSTOMER_ID in parts[0]:
            members = read_members(work.open_published(in_force, artifacts.SEGMENTS), join(held, [CUSTOMER_ID])[CUSTOMER_ID])
        assignment = assign_all(held, segmenter.preparation, segmenter.centroids)
        ungrouped = groups.reasons(segmenter.preparation, count_groups(held, segmenter.preparation))
        outside = sum(held.each(partial(_count_outside, preparation=segmenter.preparation)))
        write = partial(write_part, segmenter=segmenter, target=work.target(artifacts.SCORES), scores=True)
        for draft in each_with_previous(held, write, members):
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


def _itself(customers: pd.DataFrame) -> pd.DataFrame:
    return customers


def _count_outside(customers: pd.DataFrame, *, preparation: Preparation) -> int:
    return int(preparation.outside_training_range(customers).any(axis="columns").sum())
