"""Decide on the clusters of a run: those that were trained, or those in force fitted to today's customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract.errors import DataError
from services.contract.preparation import Preparation
from services.contract.register import Publication
from services.segment.assignment import NOBODY, Assignment, Segmenter, is_unusual
from services.segment.continuity import continue_segments
from services.segment.identity import SAME_CENTROID, SAME_SEGMENT, match, overlap
from services.segment.table import Members

Assign = Callable[[Preparation, NDArray[np.float64]], Assignment]
"""Assigns all customers to centroids; see `assign`."""


class Earlier(NamedTuple):
    """The run to compare with."""

    run: str
    publication: Publication
    segmenter: Segmenter
    can_prepare: bool
    """Whether today's table has what its preparation needs."""
    members: Members | None
    """None where its customers or today's have no CUST_ID."""


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
    continuity : see `continue_segments`
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
    pairs = match(overlap(assignment.cluster, np.where(typical, then, NOBODY), n_now, n_then), SAME_SEGMENT)
    sse = float(np.square(assignment.distance[assigned]).sum())
    continued = continue_segments(scaled, trained, sse, then[assigned], pairs, continuity)
    ratio = None
    if continued is not None:
        assignment = assign(preparation, continued)
        ratio = float(np.square(assignment.distance[assigned]).sum()) / sse if sse else 1.0
        pairs = match(overlap(assignment.cluster, np.where(typical, then, NOBODY), n_now, n_then), SAME_SEGMENT)
    continues = {cluster: int(earlier.segmenter.segment_ids[position]) for cluster, position in pairs.items()}
    return Clusters(trained if continued is None else continued, assignment, continues, notes, ratio)


def _place_before(
    assign: Assign, n_customers: int, earlier: Earlier
) -> tuple[NDArray[np.integer], NDArray[np.bool_], list[str]]:
    """Find the position of the segment of before that each customer of today belongs to.

    Returns these positions, NOBODY for who cannot be told; whether each customer is typical enough of that segment to count
    when it is to be recognised; and what has to be said about how it was found.
    """
    segmenter = earlier.segmenter
    if earlier.can_prepare:
        found = assign(segmenter.preparation, segmenter.centroids)
        return found.cluster, ~is_unusual(found, np.maximum(segmenter.reach, SAME_CENTROID)), []
    everybody = np.ones(n_customers, dtype=np.bool_)
    if earlier.members is None:
        note = f"no segment of run {earlier.run} can be recognised: the table has neither its features nor CUST_ID"
        return np.full(n_customers, NOBODY), everybody, [note]
    position = {int(segment_id): index for index, segment_id in enumerate(segmenter.segment_ids)}
    distinct, inverse = np.unique(earlier.members.segment_ids, return_inverse=True)
    lacking = ", ".join(segmenter.preparation.columns)
    note = f"segments are recognised by who was in them: the table lacks what run {earlier.run} grouped customers by, {lacking}"
    return np.array([position.get(int(segment_id), NOBODY) for segment_id in distinct])[inverse], everybody, [note]
