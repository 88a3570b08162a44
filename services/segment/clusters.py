"""Decide on the clusters of a run: those that were trained, or those in force fitted to today's customers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract.preparation import Preparation
from services.contract.segment_registry import SegmentPublication
from services.segment.assignment import NOBODY, Assignment, Segmenter, is_outlier
from services.segment.groups import MAX_SHARE
from services.segment.matching import MIN_JACCARD, match, overlap
from services.segment.segments_csv import Members
from services.segment.warm_start import refit
from stagekit.errors import DataError

Assign = Callable[[Preparation, NDArray[np.float64]], Assignment]
"""Assigns all customers to centroids; see `assign`."""


class Earlier(NamedTuple):
    """The run to compare with."""

    run: str
    publication: SegmentPublication
    segmenter: Segmenter
    lacking: tuple[str, ...]
    """Columns that its preparation needs and the current table lacks."""
    members: Members | None
    """None where its customers or today's have no CUST_ID."""
    centroids: NDArray[np.float64] | None = None
    """Its centroids in the space of the current preparation; None if the features differ. See `translate`."""
    unknown_groups: int = 0
    """Number of current customers in a group that its preparation does not know."""


class Clusters(NamedTuple):
    """The clusters of a run, and what they have to do with the segments of before."""

    centroids: NDArray[np.float64]
    """Shape (n_clusters, n_features), standardised, in the order of the trained ones."""
    assignment: Assignment
    continues: dict[int, int]
    """Cluster to the id of the segment that it continues."""
    notes: list[str]
    """What has to be said about how that was found."""
    continued_sse: float | None
    """See `Segmentation`."""


def find_clusters(
    assign: Assign,
    preparation: Preparation,
    scaled: NDArray[np.float64],
    trained: NDArray[np.float64],
    earlier: Earlier | None,
    continuity: float,
) -> Clusters:
    """Take the trained clusters, or the segments of before fitted to today's customers where these are about as good.

    Parameters
    ----------
    assign : assigns all customers
    scaled : array of shape (n_prepared, n_features), the standardised features of those who can be prepared
    trained : array of shape (n_clusters, n_features), the centroids of the chosen k, standardised
    continuity : by what share the sum of squared distances may be larger than that of the trained clusters
    """
    assignment = assign(preparation, trained)
    assigned = assignment.assigned
    if len(scaled) != assigned.sum():
        raise DataError(
            f"features.pkl holds {len(scaled)} customers, of those in customers.pkl it should hold {assigned.sum()}: "
            "run all stages from transform on again"
        )
    if earlier is None:
        return Clusters(trained, assignment, {}, [], None)
    then, typical, notes = _place_before(assign, len(assigned), earlier)
    n_now, n_then = len(trained), len(earlier.segmenter.centroids)
    similarity = overlap(assignment.cluster, np.where(typical, then, NOBODY), n_now, n_then)
    pairs = match(similarity, MIN_JACCARD)
    sse = _sum_of_squares(assignment)
    ratio = None
    centroids = trained
    for candidate in _continue(scaled, trained, then[assigned], similarity, earlier.centroids):
        continued = assign(preparation, candidate)
        has_all = np.bincount(continued.cluster[assigned], minlength=n_now).all()
        if has_all and _sum_of_squares(continued) <= (1 + continuity) * sse:
            ratio = _sum_of_squares(continued) / sse if sse else 1.0
            centroids, assignment = candidate, continued
            pairs = match(overlap(assignment.cluster, np.where(typical, then, NOBODY), n_now, n_then), MIN_JACCARD)
            break
    continues = {cluster: int(earlier.segmenter.segment_ids[position]) for cluster, position in pairs.items()}
    return Clusters(centroids, assignment, continues, notes, ratio)


def _continue(
    scaled: NDArray[np.float64],
    trained: NDArray[np.float64],
    previous: NDArray[np.integer],
    similarity: NDArray[np.float64],
    translated: NDArray[np.float64] | None,
) -> Iterator[NDArray[np.float64]]:
    """Yield the candidates that continue previous segments: first those that move fewer customers. See `continuity`."""
    pairs, all_pairs = match(similarity, MIN_JACCARD), match(similarity, 0)
    if translated is not None and len(all_pairs) == len(trained) == len(translated):
        # Another optimum may share less than half of the customers with any previous segment, and be no better.
        yield translated[[all_pairs[cluster] for cluster in range(len(trained))]]
    if not pairs:
        return
    if translated is not None:
        as_they_were = trained.copy()
        as_they_were[list(pairs)] = translated[list(pairs.values())]
        yield as_they_were
    fitted = refit(scaled, trained, previous, pairs)
    if fitted is not None:
        yield fitted


def _sum_of_squares(assignment: Assignment) -> float:
    return float(np.square(assignment.distance[assignment.assigned]).sum())


def _place_before(
    assign: Assign, n_customers: int, earlier: Earlier
) -> tuple[NDArray[np.integer], NDArray[np.bool_], list[str]]:
    """Find the position of the segment of before that each customer of today belongs to.

    Returns these positions, NOBODY for who cannot be told; whether each customer is typical enough of that segment to count
    when it is to be recognised; and what has to be said about how it was found.
    """
    segmenter = earlier.segmenter
    column = segmenter.preparation.group_column
    unknown = f"{earlier.unknown_groups} of {n_customers} customers are in a {column} that run {earlier.run} did not have"
    has_unknown = earlier.unknown_groups > MAX_SHARE * n_customers
    if not earlier.lacking and not (has_unknown and earlier.members):
        found = assign(segmenter.preparation, segmenter.centroids)
        notes = [f"segments may not be recognised: {unknown}"] if has_unknown else []
        return found.cluster, ~is_outlier(found, segmenter.reach), notes
    everybody = np.ones(n_customers, dtype=np.bool_)
    if earlier.members is None:
        note = f"no segment of run {earlier.run} can be recognised: the table has neither its features nor CUST_ID"
        return np.full(n_customers, NOBODY), everybody, [note]
    position = {int(segment_id): index for index, segment_id in enumerate(segmenter.segment_ids)}
    distinct, inverse = np.unique(earlier.members.segment_ids, return_inverse=True)
    lacking = f"the table lacks what run {earlier.run} grouped customers by, {', '.join(earlier.lacking)}"
    reason = lacking if earlier.lacking else unknown
    note = f"segments are recognised by who was in them: {reason}"
    return np.array([position.get(int(segment_id), NOBODY) for segment_id in distinct])[inverse], everybody, [note]
