"""Segment: give every customer a segment, compare with the active segments, publish unless a check fails."""

import logging
from functools import partial
from typing import Any

from services.contract import artifacts
from services.contract.results import Evaluation
from services.contract.settings import SegmentSettings
from services.segment.assignment import to_segmenter
from services.segment.clusters import find_clusters
from services.segment.gate import Gate
from services.segment.names import read_names
from services.segment.part_tasks import load_part
from services.segment.previous import find_predecessor, locate_previous_run
from services.segment.sampling import sample_part
from services.segment.segmentation import RunInputs, SegmentationOutput, segment_customers
from services.segment.segments_csv import write_segments
from services.segment.summary import log_outcome, make_result, summarise_run
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

log = logging.getLogger(__name__)


def main(settings: SegmentSettings, work: Workspace) -> dict[str, Any]:
    user_names = _read_names(settings.names_file, work)
    evaluation = work.load_as(Evaluation, artifacts.EVALUATION)
    registry = work.read_registry(lock=settings.publish != "never")
    centroids = {k: model.cluster_centers_ for k, model in work.load(artifacts.SWEEP).items()}
    preparation = work.parts(artifacts.FEATURES)[0].load()["preparation"]
    decimal = str(work.manifest("extract").settings.get("decimal", "."))
    entry = find_predecessor(registry, work.run)
    segmenter = to_segmenter(work.load_published(entry, artifacts.SEGMENTER)) if entry else None

    with worker_pool(settings.dask_scheduler, work.output_location(artifacts.SEGMENTS).folder) as pool:
        columns = {*preparation.columns, *(segmenter.preparation.columns if segmenter else ())}
        draw = partial(sample_part, preparation=preparation, n_customers=evaluation.customers, decimal=decimal)
        load = partial(load_part, columns=columns, folder=work.scratch(), draw=draw)
        parts = pool.persist(load, enumerate(work.parts(artifacts.CUSTOMERS)))
        previous = None
        if entry and segmenter:
            published = work.open_published(entry, artifacts.SEGMENTS)
            previous = locate_previous_run(entry, segmenter, published, parts, preparation, work.scratch())
        log.info("k=%d, compared with run %s", evaluation.chosen_k, previous.run if previous else "none")
        clusters = find_clusters(parts, preparation, centroids[evaluation.chosen_k], previous, settings.continuity_tolerance)
        inputs = RunInputs(work.run, preparation, centroids, evaluation, previous, registry, user_names, decimal)
        output = segment_customers(inputs, clusters, Gate(settings.max_unassigned, settings.publish))
        log_outcome(output.segmentation)
        membership = previous.membership if previous else None
        for artifact in (artifacts.SEGMENTS, *([artifacts.SEGMENTS_PARQUET] if settings.parquet else [])):
            for part in write_segments(clusters.parts, output.segmenter, membership, work.output_location(artifact)):
                work.add_part(artifact, part)
    _save(output, work, is_experimental=settings.publish == "never")
    work.record_in_history(summarise_run(output.segmentation, evaluation, work.manifest("extract").started))
    return make_result(output.segmentation)


def _save(output: SegmentationOutput, work: Workspace, *, is_experimental: bool) -> None:
    for artifact, table in output.tables.items():
        work.save(artifact, table.to_csv(index=False, lineterminator="\n"))
    work.save(artifacts.RULES, output.rules.model_dump(mode="json"))
    work.save(artifacts.SEGMENTATION, output.segmentation.model_dump(mode="json"))
    work.save(artifacts.SEGMENTER, output.segmenter._asdict())
    if not is_experimental:
        metadata = dict(output.metadata) if output.segmentation.published else None
        work.update_registry_after_commit(output.registry, metadata, [artifacts.SEGMENTER, artifacts.SEGMENTS])
    if output.segmentation.published:
        work.publish_after_commit(artifacts.MODEL)


def _read_names(path: str, work: Workspace) -> dict[int, str]:
    """Read the user's names; only the default file may be missing."""
    if path == SegmentSettings.model_fields["names_file"].default and not work.user_files.exists(path):
        return {}
    names = read_names(work.user_files.open(path))
    log.info("read %d names from %s", len(names), path)
    return names
