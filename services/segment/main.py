"""Segment: give every customer a segment, compare with the active segments, publish unless a check fails."""

import logging
from functools import partial
from typing import Any

from services.contract import artifacts
from services.contract.preparation import Preparation
from services.contract.results import Evaluation
from services.contract.segment_registry import SegmentRunEntry
from services.contract.settings import SegmentSettings
from services.segment.across_k import neighbouring_k
from services.segment.assignment import Segmenter, find_missing_columns, to_segmenter
from services.segment.clusters import PreviousRun, find_clusters
from services.segment.gate import Gate
from services.segment.history import find_predecessor
from services.segment.membership import find_previous_membership, split_by_part
from services.segment.names import read_names
from services.segment.part_tasks import (
    add_up,
    count_customers,
    count_groups,
    count_scaled,
    load_part,
    take_header,
    take_ids,
    take_sample,
    translate_centroids,
)
from services.segment.sample_results import evaluate_sample
from services.segment.sampling import join_samples, sample_part
from services.segment.segmentation import RunInputs, SegmentationOutput, segment_customers
from services.segment.segments_csv import write_part
from services.segment.summary import log_outcome, make_result, summarise_run
from stagekit.errors import DataError
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import PersistedParts, WorkerPool, worker_pool

log = logging.getLogger(__name__)


def main(settings: SegmentSettings, work: Workspace) -> dict[str, Any]:
    user_names = _read_names(settings.names_file, work)
    evaluation = work.load_as(Evaluation, artifacts.EVALUATION)
    is_experimental = settings.publish == "never"
    registry = work.read_registry(lock=not is_experimental)
    models = work.load(artifacts.SWEEP)
    centroids = models[evaluation.chosen_k].cluster_centers_
    preparation: Preparation = work.parts(artifacts.FEATURES)[0].load()["preparation"]
    entry = find_predecessor(registry, work.run)
    segmenter = to_segmenter(work.load_published(entry, artifacts.SEGMENTER)) if entry else None

    with worker_pool(settings.dask_scheduler, work.output_location(artifacts.SEGMENTS).folder) as pool:
        needed = {*preparation.columns, *(segmenter.preparation.columns if segmenter else ())}
        draw = partial(sample_part, preparation=preparation, n_customers=evaluation.customers, decimal=_decimal_mark(work))
        load = partial(load_part, columns=needed, folder=work.scratch(), draw=draw)
        parts = pool.persist(load, enumerate(work.parts(artifacts.CUSTOMERS)))
        previous = _find_previous(work, entry, segmenter, parts, preparation) if entry and segmenter else None
        log.info("k=%d, compared with run %s", len(centroids), previous.run if previous else "none")
        clusters = find_clusters(parts, preparation, centroids, previous, settings.continuity_tolerance)
        has_ids = parts.map(take_ids)[0] is not None
        inputs = RunInputs(work.run, preparation, evaluation, previous, registry, user_names, has_ids)
        output = segment_customers(inputs, clusters, Gate(settings.max_unassigned, settings.publish))
        _check_features(work, pool, output)
        log_outcome(output.segmentation)
        _write_segments(work, clusters.parts, output.segmenter, previous, parquet=settings.parquet)
        sample = join_samples(parts.map(take_sample), _decimal_mark(work))

    neighbours = {k: models[k].cluster_centers_ for k in neighbouring_k(models, evaluation.chosen_k)}
    described = evaluate_sample(sample, output.segmenter, output.segmentation, neighbours)
    work.save(artifacts.DESCRIPTION, described.description.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.RULES, described.rules.model_dump(mode="json"))
    work.save(artifacts.PROFILE, output.profile.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.MIGRATION, output.migration.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.POINTS, output.points.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.SEGMENTATION, described.segmentation.model_dump(mode="json"))
    work.save(artifacts.SEGMENTER, output.segmenter._asdict())
    if not is_experimental:
        metadata = dict(output.metadata) if output.segmentation.published else None
        work.update_registry_after_commit(output.registry, metadata, [artifacts.SEGMENTER, artifacts.SEGMENTS])
        if output.segmentation.published:
            work.publish_after_commit(artifacts.MODEL)
    work.record_in_history(summarise_run(output.segmentation, evaluation, work.manifest("extract").started))
    return make_result(output.segmentation)


def _find_previous(
    work: Workspace, entry: SegmentRunEntry, segmenter: Segmenter, parts: PersistedParts, preparation: Preparation
) -> PreviousRun | None:
    """Find the previous segment of each customer, and what the previous centroids are in the current space."""
    if entry.publication is None:
        return None
    databases = [database for database in parts.map(take_ids) if database]
    membership = None
    if segmenter.has_ids and databases:
        published = work.open_published(entry, artifacts.SEGMENTS)
        membership = find_previous_membership(published, databases, parts.map(count_customers), work.scratch())
    missing_columns = find_missing_columns(segmenter.preparation, parts.map(take_header)[0])
    previous = PreviousRun(entry.run, entry.publication, segmenter, missing_columns, membership)
    if missing_columns:
        return previous
    has_same_features = segmenter.preparation.feature_columns == preparation.feature_columns
    _, n_unknown_groups = add_up(parts.map(partial(count_groups, preparation=segmenter.preparation)))
    return previous._replace(
        centroids=translate_centroids(parts, segmenter, preparation) if has_same_features else None,
        n_unknown_groups=n_unknown_groups,
    )


def _check_features(work: Workspace, pool: WorkerPool, output: SegmentationOutput) -> None:
    """Raise DataError unless features.pkl is made from the same customers."""
    n_scaled = sum(pool.map(count_scaled, work.parts(artifacts.FEATURES)))
    n_assigned = sum(segment.customers for segment in output.segmentation.segments)
    if n_scaled != n_assigned:
        raise DataError(
            f"features.pkl holds {n_scaled} customers, of those in customers.pkl it should hold {n_assigned}: "
            "run all stages from transform on again"
        )


def _write_segments(
    work: Workspace, parts: PersistedParts, segmenter: Segmenter, previous: PreviousRun | None, *, parquet: bool
) -> None:
    sizes = parts.map(count_customers)
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]
    previous_ids = split_by_part(previous.membership if previous else None, sizes)
    write = partial(
        write_part,
        segmenter=segmenter,
        csv=work.output_location(artifacts.SEGMENTS),
        parquet=work.output_location(artifacts.SEGMENTS_PARQUET) if parquet else None,
    )
    for written in parts.map(write, firsts, previous_ids):
        work.add_part(artifacts.SEGMENTS, written.csv)
        if written.parquet:
            work.add_part(artifacts.SEGMENTS_PARQUET, written.parquet)


def _decimal_mark(work: Workspace) -> str:
    """Return the decimal mark of the table, in which texts may be numbers."""
    return str(work.manifest("extract").settings.get("decimal", "."))


def _read_names(path: str, work: Workspace) -> dict[int, str]:
    """Read the user's names; only the default file may be missing."""
    if path == SegmentSettings.model_fields["names_file"].default and not work.user_files.exists(path):
        return {}
    names = read_names(work.user_files.open(path))
    log.info("read %d names from %s", len(names), path)
    return names
