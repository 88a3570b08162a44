"""Score: put the customers of a new file into the segments in force, without training anything."""

import logging
from typing import Any

import numpy as np

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import MissingInputError
from services.contract.settings import ScoreSettings
from services.contract.tables import CUSTOMER_ID
from services.segment.assignment import NOBODY, Segmenter, assign
from services.segment.table import add_flags, make_rows, read_customers, read_members, write_rows

log = logging.getLogger(__name__)


def main(settings: ScoreSettings, work: Workspace) -> dict[str, Any]:
    register = work.register(hold=False)
    in_force = register.entry(register.in_force)
    if in_force is None:
        raise MissingInputError("no segments are in force: run all stages first, until segment publishes some")
    segmenter = Segmenter(**work.load_published(in_force, artifacts.SEGMENTER))
    customers = read_customers(work.data_file(settings.score), segmenter.preparation)
    log.info("read %s: %d customers; in force are the segments of run %s", settings.score, len(customers), in_force.run)

    assignment = assign(customers, segmenter.preparation, segmenter.centroids)
    outside = segmenter.preparation.outside_training_range(customers).any(axis="columns")
    previous = None
    if segmenter.has_ids and CUSTOMER_ID in customers:
        previous = read_members(work.open_published(in_force, artifacts.SEGMENTS), customers[CUSTOMER_ID]).segment_ids

    with work.writing(artifacts.SCORES) as file:
        rows = write_rows(add_flags(make_rows(customers, assignment, segmenter, previous), customers, segmenter), file)
    assert rows == len(customers), f"{len(customers)} customers came in, {rows} went out"
    sizes = np.bincount(assignment.cluster[assignment.assigned], minlength=len(segmenter.centroids))
    unassigned = int((assignment.cluster == NOBODY).sum())
    log.info("%d customers have no segment, %d are outside the training range", unassigned, outside.sum())
    for segment_id, name, size in sorted(zip(segmenter.segment_ids, segmenter.names, sizes, strict=True)):
        log.info("segment %d, %s: %d customers", segment_id, name, size)
    return {
        "scores": str(work.place / artifacts.SCORES.name),
        "in_force": in_force.run,
        "rows": rows,
        "unassigned": unassigned,
        "outside_training_range": int(outside.sum()),
    }
