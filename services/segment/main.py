"""Segment: give every customer a segment, compare with the segments in force, publish unless the run falls short."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.contract.results import Evaluation
from services.contract.settings import SegmentSettings
from services.segment.assignment import Segmenter, find_lacking
from services.segment.clusters import Earlier, find_clusters
from services.segment.gate import Gate
from services.segment.history import find_predecessor
from services.segment.names import read_names
from services.segment.part_tasks import (
    assign_all,
    count_groups,
    join,
    load_columns,
    map_with_previous_ids,
    translate_centroids,
    write_part,
)
from services.segment.profiles import find_effects
from services.segment.segmentation import segment_customers
from services.segment.segments_csv import read_members
from services.segment.summary import log_outcome, make_result
from stagekit.volume import workspace as artifacts
from stagekit.volume.registry import RunEntry
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import PersistedParts, worker_pool

log = logging.getLogger(__name__)


def main(settings: SegmentSettings, work: Workspace) -> dict[str, Any]:
    names = _read_names(settings.names_file, work)
    evaluation = work.load_as(Evaluation, artifacts.EVALUATION)
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
    with worker_pool(settings.dask_scheduler, target[0]) as pool:
        needed = {*preparation.columns, *(segmenter.preparation.columns if segmenter else ())}
        held = pool.persist(partial(load_columns, columns=needed), work.parts(artifacts.CUSTOMERS))
        customers = join(held, list(preparation.columns))
        columns = held.map(partial(pd.DataFrame.head, n=0))[0]
        earlier = _load_earlier(work, entry, segmenter, columns, held, preparation)
        log.info("%d customers, k=%d, compared with run %s", len(customers), len(centroids), earlier.run if earlier else "none")

        clusters = find_clusters(partial(assign_all, held), preparation, scaled, centroids, earlier, settings.continuity)
        effects = find_effects(scaled, clusters.assignment.cluster[clusters.assignment.assigned], len(centroids))
        del scaled
        outcome = segment_customers(
            work.run,
            customers,
            preparation,
            clusters,
            effects,
            evaluation,
            earlier,
            register,
            CUSTOMER_ID in columns,
            names,
            Gate(settings.max_unassigned, settings.publish),
        )
        log_outcome(outcome.segmentation)
        write = partial(write_part, segmenter=outcome.segmenter, target=target)
        for draft in map_with_previous_ids(held, write, earlier.members if earlier else None):
            work.add(artifacts.SEGMENTS, draft)
    work.save(artifacts.PROFILE, outcome.profile.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.MIGRATION, outcome.migration.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.POINTS, outcome.points.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.SEGMENTATION, outcome.segmentation.model_dump(mode="json"))
    work.save(artifacts.SEGMENTER, outcome.segmenter._asdict())
    if not is_experimental:
        contents = outcome.contents if outcome.segmentation.published else None
        work.enter_register(outcome.register, contents, [artifacts.SEGMENTER, artifacts.SEGMENTS])
        if outcome.segmentation.published:
            work.publish(artifacts.MODEL)
    return make_result(outcome.segmentation)


def _load_earlier(
    work: Workspace,
    entry: RunEntry | None,
    segmenter: Segmenter | None,
    columns: pd.DataFrame,
    held: PersistedParts,
    preparation: Preparation,
) -> Earlier | None:
    if entry is None or entry.publication is None or segmenter is None:
        return None
    members = None
    if segmenter.has_ids and CUSTOMER_ID in columns:
        members = read_members(work.open_published(entry, artifacts.SEGMENTS), join(held, [CUSTOMER_ID])[CUSTOMER_ID])
    earlier = Earlier(entry.run, entry.publication, segmenter, find_lacking(segmenter.preparation, columns), members)
    if earlier.lacking:
        return earlier
    same_features = segmenter.preparation.feature_columns == preparation.feature_columns
    return earlier._replace(
        centroids=translate_centroids(held, segmenter, preparation) if same_features else None,
        unknown_groups=count_groups(held, segmenter.preparation).unknown,
    )


def _read_names(path: str, work: Workspace) -> dict[int, str]:
    """Read the names that the user gives; only the default file may be missing."""
    if path == SegmentSettings.model_fields["names_file"].default and not work.has_data_file(path):
        return {}
    names = read_names(work.data_file(path))
    log.info("read %d names from %s", len(names), path)
    return names
