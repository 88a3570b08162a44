"""Summaries of a segmentation: log lines for people, and the result for the next task."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from services.contract.results import Evaluation, RunSummary, Segmentation, SegmentSummary

_RESULT_BYTES = 1000

log = logging.getLogger(__name__)


def log_outcome(segmentation: Segmentation) -> None:
    """Log sizes, changes, warnings and failed checks."""
    if ratio := segmentation.warm_start_sse_ratio:
        log.info("keeping the active segments: SSE %.5f times that of the trained clusters", ratio)
    for segment in segmentation.segments:
        log.info(
            "segment %d, %s: %d customers (%.1f%%)", segment.segment_id, segment.name, segment.customers, 100 * segment.share
        )
    for reason, count in segmentation.unassigned.items():
        log.info("without a segment: %d, %s", count, reason)
    for reason, count in segmentation.ungrouped.items():
        log.info("standardised like all customers together: %d with %s", count, reason)
    if (compared := segmentation.comparison) and compared.common_customers:
        log.info("%d of %d common customers keep their segment", compared.same_segment, compared.common_customers)
    for warning in segmentation.warnings:
        log.warning("%s", warning)
    for reason in segmentation.held_back:
        log.warning("%s: %s", "published although a check failed" if segmentation.published else "check failed", reason)
    if segmentation.experimental:
        log.info("experimental run (publish=never): nothing below model/ changes; its new segment ids are provisional")
    if segmentation.published:
        log.info("run %s passed the quality gate and will be published", segmentation.run)


def make_result(segmentation: Segmentation) -> dict[str, Any]:
    """Make the result of the stage; the last reasons and segments are left out if it would be too long."""
    segments = [[segment.segment_id, segment.name, segment.customers] for segment in segmentation.segments]
    held_back = list(segmentation.held_back)
    while True:
        result = {
            "run": segmentation.run,
            "k": segmentation.k,
            "customers": segmentation.rows,
            "published": segmentation.published,
            "experimental": segmentation.experimental,
            "held_back": held_back,
            "segments": [dict(zip(("id", "name", "customers"), segment, strict=True)) for segment in segments],
        }
        if len(json.dumps(result)) < _RESULT_BYTES or not segments:
            return result
        (held_back if len(held_back) > 1 else segments).pop()


def summarise_run(segmentation: Segmentation, evaluation: Evaluation, started: datetime) -> RunSummary:
    """Collect the key figures of a run for the history."""
    chosen = next(candidate for candidate in evaluation.candidates if candidate.k == evaluation.chosen_k)
    drifts = segmentation.comparison.psi.values() if segmentation.comparison else ()
    return RunSummary(
        run=segmentation.run,
        started=started,
        status="experimental" if segmentation.experimental else "published" if segmentation.published else "not published",
        k=segmentation.k,
        customers=segmentation.rows,
        unassigned=sum(segmentation.unassigned.values()),
        silhouette=segmentation.silhouette,
        verdict=chosen.classification,
        failed_checks=segmentation.held_back,
        max_psi=max(drifts, default=None),
        segments=tuple(
            SegmentSummary(segment_id=one.segment_id, name=one.name, customers=one.customers, jaccard=one.jaccard)
            for one in segmentation.segments
        ),
    )
