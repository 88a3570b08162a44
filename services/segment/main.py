"""Segment: give every customer a segment, compare with the segments in force, publish unless the run falls short."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.preparation import Preparation
from services.contract.register import RunEntry
from services.contract.results import Evaluation
from services.contract.settings import SegmentSettings
from services.contract.tables import CUSTOMER_ID
from services.contract.workers import Held, workers
from services.segment.assignment import Segmenter, can_prepare
from services.segment.clusters import Earlier, find_clusters
from services.segment.gate import Gate
from services.segment.history import find_predecessor
from services.segment.names import read_names
from services.segment.parts import assign_all, each_with_previous, join, load_columns, write_part
from services.segment.segmentation import segment_customers
from services.segment.summary import log_outcome, make_result
from services.segment.table import read_members

log = logging.getLogger(__name__)


def main(settings: SegmentSettings, work: Workspace) -> dict[str, Any]:
    names = read_names(work.data_file(settings.names_file)) if work.has_data_file(settings.names_file) else {}
    evaluation = Evaluation.model_validate(work.load(artifacts.EVALUATION))
    is_experimental = settings.publish == "never"
    register = work.register(hold=not is_experimental)
    entry = find_predecessor(register, work.run)
    segmenter = Segmenter(**work.load_published(entry, artifacts.SEGMENTER)) if entry else None
    features = list(work.load_parts(artifacts.FEATURES))
    preparation: Preparation = features[0]["preparation"]
    scaled = np.concatenate([part["scaled"] for part in features])
    del features
    centroids = work.load(artifacts.SWEEP)[evaluation.chosen_k].cluster_centers_
    target = work.target(artifacts.SEGMENTS)
    with workers(settings.dask_scheduler, target[0]) as several:
        needed = {*preparation.columns, *(segmenter.preparation.columns if segmenter else ())}
        held = several.hold(partial(load_columns, columns=needed), work.parts(artifacts.CUSTOMERS))
        customers = join(held, list(preparation.columns))
        columns = held.each(partial(pd.DataFrame.head, n=0))[0]
        earlier = _load_earlier(work, entry, segmenter, columns, held)
        log.info("%d customers, k=%d, compared with run %s", len(customers), len(centroids), earlier.run if earlier else "none")

        clusters = find_clusters(partial(assign_all, held), preparation, scaled, centroids, earlier, settings.continuity)
        del scaled
        outcome = segment_customers(
            work.run,
            customers,
            preparation,
            clusters,
            evaluation,
            earlier,
            register,
            CUSTOMER_ID in columns,
            names,
            Gate(settings.max_unassigned, settings.publish),
        )
        log_outcome(outcome.segmentation)
        write = partial(write_part, segmenter=outcome.segmenter, target=target)
        for draft in each_with_previous(held, write, earlier.members if earlier else None):
            work.add(artifacts.SEGMENTS, draft)
    work.save(artifacts.PROFILE, outcome.profile.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.MIGRATION, outcome.migration.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.POINTS, outcome.points.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.SEGMENTATION, outcome.segmentation.model_dump(mode="json"))
    work.save(artifacts.SEGMENTER, outcome.segmenter._asdict())
    if not is_experimental:
        contents = outcome.contents if outcome.segmentation.published else None
        work.enter_register(outcome.register, contents, [artifacts.SEGMENTER, artifacts.SEGMENTS])
    return make_result(outcome.segmentation)


def _load_earlier(
    work: Workspace, entry: RunEntry | None, segmenter: Segmenter | None, columns: pd.DataFrame, held: Held
) -> Earlier | None:
    if entry is None or entry.publication is None or segmenter is None:
        return None
    members = None
    if segmenter.has_ids and CUSTOMER_ID in columns:
        members = read_members(work.open_published(entry, artifacts.SEGMENTS), join(held, [CUSTOMER_ID])[CUSTOMER_ID])
    return Earlier(entry.run, entry.publication, segmenter, can_prepare(segmenter.preparation, columns), members)
