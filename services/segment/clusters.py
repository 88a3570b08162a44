"""Decide on the clusters of a run: those that were trained, or the active segments fitted to the current customers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract.preparation import Preparation
from services.contract.segment_registry import SegmentPublication
from services.segment.assignment import Segmenter
from services.segment.groups import MAX_SHARE
from services.segment.matching import MIN_JACCARD, jaccard_matrix, match_clusters
from services.segment.membership import PreviousMembership, split_by_part
from services.segment.part_tasks import (
    add_up,
    assign_part,
    count_customers,
    locate_by_centroids,
    locate_by_membership,
    sum_clusters,
    sum_nearest,
    sum_previous,
)
from services.segment.warm_start import refit
from stagekit.workers.worker_pool import PersistedParts


class PreviousRun(NamedTuple):
    """The run to compare with."""

    run: str
    publication: SegmentPublication
    segmenter: Segmenter
    missing_columns: tuple[str, ...]
    """Columns that its preparation needs and the current table does not have."""
    membership: PreviousMembership | None
    """None if its customers or the current ones have no CUST_ID."""
    centroids: NDArray[np.float64] | None = None
    """Its centroids in the space of the current preparation; None if the features differ. See `translate`."""
    n_unknown_groups: int = 0
    """Number of current customers in a group that its preparation does not know."""


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
    """Yield the centroids that continue previous segments, those that move fewer customers first. See `warm_start`."""
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
    sizes = parts.map(count_customers)
    column = segmenter.preparation.group_column
    unknown = f"{previous.n_unknown_groups} of {sum(sizes)} customers are in a {column} that run {previous.run} did not have"
    has_unknown = previous.n_unknown_groups > MAX_SHARE * sum(sizes)
    if not previous.missing_columns and not (has_unknown and previous.membership):
        notes = [f"segments may not be recognised: {unknown}"] if has_unknown else []
        return parts.derive(partial(locate_by_centroids, segmenter=segmenter)), notes
    positions = {int(segment_id): position for position, segment_id in enumerate(segmenter.segment_ids)}
    located = parts.derive(partial(locate_by_membership, positions=positions), split_by_part(previous.membership, sizes))
    if previous.membership is None:
        note = f"no segment of run {previous.run} can be recognised: the table has neither its features nor CUST_ID"
        return located, [note]
    columns, verb = ("columns", "are") if len(previous.missing_columns) > 1 else ("column", "is")
    names = ", ".join(previous.missing_columns)
    missing = f"{columns} {names}, used by run {previous.run}, {verb} missing or not numeric"
    return located, [f"segments are matched by previous membership: {missing if previous.missing_columns else unknown}"]
