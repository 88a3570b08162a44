"""Decide on the clusters of a run: the previous centroids as long as they describe the customers as well as the trained ones.

K-Means has many local optima of nearly the same quality; which one a training finds depends on its seed. On the lab's table
with k=5, two of them differ by 0.02% in SSE and by 1% of the customers. No customer should change segment for that. The
trained clusters are therefore taken only if the active segments are worse by more than a tolerance: evolutionary clustering
(Chakrabarti, Kumar and Tomkins 2006), current quality against change since the previous run. The candidates, in this order:

1. if there are as many clusters as previous segments, the previous centroids as they are, translated into the space of the
   current preparation (`translate`). On unchanged data they are the same to the last bit, so no customer moves;
2. those of the previous centroids that a cluster continues, translated, and the trained centroids of the other clusters;
3. the means of the current customers of the segments that are continued, and the trained centroids of the other clusters,
   fitted to the current customers (`refit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract.preparation import Preparation
from services.segment.gate import MAX_UNGROUPED_SHARE
from services.segment.matching import MIN_JACCARD, jaccard_matrix, match_clusters
from services.segment.membership import split_by_part
from services.segment.part_tasks import (
    add_up,
    assign_part,
    locate_by_centroids,
    locate_by_membership,
    sum_clusters,
    sum_nearest,
    sum_previous,
)
from services.segment.previous import PreviousRun
from stagekit.workers.worker_pool import PersistedParts

_MAX_ITER = 300
_TOLERANCE = (
    1e-4  # squared movement of all centroids at which the fit has converged, as in scikit-learn: features have variance 1
)

SumNearest = Callable[["NDArray[np.float64]"], tuple["NDArray[np.float64]", "NDArray[np.intp]"]]
"""Given centroids, returns the sums of the features of the customers nearest to each, and their numbers."""


class ClusterResult(NamedTuple):
    """The clusters of a run, and the previous segments that they continue."""

    centroids: NDArray[np.float64]
    """Shape (n_clusters, n_features), standardised, in the order of the trained ones."""
    parts: PersistedParts
    """The customers, each part a `CustomerPart` with its assignment to `centroids`."""
    continues: dict[int, int]
    """Cluster to the id of the segment that it continues."""
    notes: list[str]
    """Warnings about how the segments were recognised."""
    warm_start_sse_ratio: float | None
    """See `Segmentation`."""


def find_clusters(
    parts: PersistedParts,
    preparation: Preparation,
    trained_centroids: NDArray[np.float64],
    previous: PreviousRun | None,
    tolerance: float,
) -> ClusterResult:
    """Take the trained clusters, or the previous segments fitted to the current customers if these are about as good.

    Parameters
    ----------
    parts : PersistedParts
        All customers, each part a `CustomerPart`.
    preparation : Preparation
    trained_centroids : ndarray of shape (n_clusters, n_features)
        The centroids of the chosen k, standardised.
    previous : PreviousRun or None
        None if there are no previous segments.
    tolerance : float
        The share by which the sum of squared distances may exceed that of the trained clusters.

    Returns
    -------
    ClusterResult
    """
    n_clusters = len(trained_centroids)
    if previous is None:
        assigned = parts.derive(partial(assign_part, preparation=preparation, centroids=trained_centroids))
        return ClusterResult(trained_centroids, assigned, {}, [], None)
    located, notes = _locate_previous(parts, previous)
    n_previous = len(previous.segmenter.centroids)

    def assign(centroids: NDArray[np.float64]) -> PersistedParts:
        return located.derive(partial(assign_part, preparation=preparation, centroids=centroids))

    # Only one assignment is kept at a time: it takes 20 bytes per customer.
    trained = sum_clusters(assign(trained_centroids), n_clusters, n_previous)
    for centroids in _candidates(located, preparation, trained_centroids, previous.centroids, jaccard_matrix(trained.shared)):
        assigned = assign(centroids)
        chosen = sum_clusters(assigned, n_clusters, n_previous)
        if chosen.sizes.all() and chosen.sse <= (1 + tolerance) * trained.sse:
            ratio = chosen.sse / trained.sse if trained.sse else 1.0
            break
        del assigned
    else:
        centroids, assigned, chosen, ratio = trained_centroids, assign(trained_centroids), trained, None
    pairs = match_clusters(jaccard_matrix(chosen.shared), MIN_JACCARD)
    continues = {cluster: int(previous.segmenter.segment_ids[position]) for cluster, position in pairs.items()}
    return ClusterResult(centroids, assigned, continues, notes, ratio)


def _candidates(
    parts: PersistedParts,
    preparation: Preparation,
    trained_centroids: NDArray[np.float64],
    translated: NDArray[np.float64] | None,
    similarity: NDArray[np.float64],
) -> Iterator[NDArray[np.float64]]:
    """Yield the centroids that continue previous segments, those that move fewer customers first; see the module."""
    pairs, all_pairs = match_clusters(similarity, MIN_JACCARD), match_clusters(similarity, 0)
    n_clusters, n_previous = similarity.shape
    if translated is not None and len(all_pairs) == n_clusters == n_previous:
        # Another optimum may share less than half of the customers with every previous segment, and be no better.
        yield translated[[all_pairs[cluster] for cluster in range(n_clusters)]]
    if not pairs:
        return
    if translated is not None:
        yield _replace_rows(trained_centroids, pairs, translated)
    sums, counts = add_up(parts.map(partial(sum_previous, preparation=preparation, n_previous=n_previous)))
    start = _replace_rows(trained_centroids, pairs, sums / np.maximum(counts, 1)[:, None])
    fitted = refit(start, lambda centroids: _sum_nearest(parts, preparation, centroids))
    if fitted is not None:
        yield fitted


def _replace_rows(
    centroids: NDArray[np.float64], pairs: Mapping[int, int], replacements: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Replace the centroid of each cluster in `pairs` by that of the previous segment."""
    replaced = centroids.copy()
    replaced[list(pairs)] = replacements[list(pairs.values())]
    return replaced


def _sum_nearest(
    parts: PersistedParts, preparation: Preparation, centroids: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    sums, counts = add_up(parts.map(partial(sum_nearest, preparation=preparation, centroids=centroids)))
    return sums, counts


def _locate_previous(parts: PersistedParts, previous: PreviousRun) -> tuple[PersistedParts, list[str]]:
    """Find the previous segment of each current customer; returns the parts with it, and warnings about the fallback used."""
    segmenter = previous.segmenter
    n_customers = sum(parts.map(attrgetter("n_customers")))
    column = segmenter.preparation.group_column
    unknown = f"{previous.n_unknown_groups} of {n_customers} customers are in a {column} that run {previous.run} did not have"
    has_unknown = previous.n_unknown_groups > MAX_UNGROUPED_SHARE * n_customers
    if not previous.missing_columns and not (has_unknown and previous.membership):
        notes = [f"segments may not be recognised: {unknown}"] if has_unknown else []
        return parts.derive(partial(locate_by_centroids, segmenter=segmenter)), notes
    positions = {int(segment_id): position for position, segment_id in enumerate(segmenter.segment_ids)}
    located = parts.derive(partial(locate_by_membership, positions=positions), split_by_part(previous.membership, parts))
    if previous.membership is None:
        note = f"no segment of run {previous.run} can be recognised: the table has neither its features nor CUST_ID"
        return located, [note]
    columns, verb = ("columns", "are") if len(previous.missing_columns) > 1 else ("column", "is")
    names = ", ".join(previous.missing_columns)
    missing = f"{columns} {names}, used by run {previous.run}, {verb} missing or not numeric"
    return located, [f"segments are matched by previous membership: {missing if previous.missing_columns else unknown}"]


def refit(start: NDArray[np.float64], sum_nearest: SumNearest) -> NDArray[np.float64] | None:
    """Fit K-Means to the current customers by Lloyd iterations.

    Parameters
    ----------
    start : ndarray of shape (n_clusters, n_features)
        The first centroids.
    sum_nearest : callable
        A pass over all customers.

    Returns
    -------
    ndarray of shape (n_clusters, n_features) or None
        The centroids in the order of `start`; None if a cluster gets no customer.
    """
    centroids = start
    for _ in range(_MAX_ITER):
        sums, counts = sum_nearest(centroids)
        if not counts.all():
            return None
        previous, centroids = centroids, sums / counts[:, None]
        if np.square(centroids - previous).sum() <= _TOLERANCE:
            break
    sums, counts = sum_nearest(centroids)
    return sums / counts[:, None] if counts.all() else None
