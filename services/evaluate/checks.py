"""Check whether a number of segments is good enough to be published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from services.contract.results import WEAKEST_SEGMENT, Candidate


class Thresholds(NamedTuple):
    """Minima that each k has to reach."""

    min_silhouette: float
    min_stability: float


def check(candidate: Candidate, thresholds: Thresholds, *, margin: float = 0.0) -> Candidate:
    """Record the checks that a candidate fails by its silhouette, its stability, and the structure test if made.

    With a screening estimate of the stability, a `margin` of CERTAINTY standard errors records only what it fails for certain.
    """
    return candidate.model_copy(update={"failed_checks": tuple(_find_failed(candidate, thresholds, margin))})


def _find_failed(candidate: Candidate, thresholds: Thresholds, margin: float) -> Iterator[str]:
    """Yield one sentence for each failed check, with the value and the threshold."""
    if candidate.silhouette < thresholds.min_silhouette:
        yield f"the silhouette is {candidate.silhouette:.3f}, less than {thresholds.min_silhouette:g}"
    # A cluster with too few sampled members to assess (None) fails nothing: segment warns of it.
    estimates = [
        (jaccard, error or 0.0)
        for jaccard, error in zip(candidate.jaccard, candidate.jaccard_se, strict=True)
        if jaccard is not None
    ]
    unstable = sorted(estimate for estimate in estimates if estimate[0] + margin * estimate[1] < thresholds.min_stability)
    if unstable:
        jaccard, error = unstable[0]
        others = f"; {len(unstable)} of {candidate.k} segments are below it" if len(unstable) > 1 else ""
        yield (
            f"{WEAKEST_SEGMENT} has a stability of {jaccard:.3f} ± {error:.3f} over {candidate.n_resamples} resamples, "
            f"less than {thresholds.min_stability:g}{others}"
        )
    if candidate.classification == "constructive":
        yield "the segmentation is constructive: the data has no separate groups, and resamples do not give the same segments"
