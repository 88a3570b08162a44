"""Recognise segments, although every training numbers its clusters anew.

The common space of two segmentations is today's customers, prepared as they were for the segments in force: each is in a
cluster of today, and by the centroids of before in a segment of before, unless far from all that was typical of it. The two
are the same segment if they share most of these customers. So scaling, logarithms, groups, and even other features or another
number of segments on either side need no translation; customers unlike any before make a new segment instead of blurring an
old one; and so do customers whose habits have changed, who would if the segment that they were in were taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.contract.segment_registry import RegisteredSegment
from services.segment.assignment import MAX_CENTROID_DISTANCE, NOBODY

MIN_JACCARD = 0.5
"""Jaccard similarity above which two segments are the same: of the customers in either, more than half are in both. Hennig
(2007, Cluster-wise assessment of cluster stability) calls a cluster dissolved that finds nothing above it. No segment can be
above it with two others."""


def overlap(now: NDArray[np.integer], then: NDArray[np.integer], n_now: int, n_then: int) -> NDArray[np.float64]:
    """Compute the Jaccard similarity of every cluster of today with every segment of before.

    Parameters
    ----------
    now, then : arrays of shape (n_customers,), positions of a cluster and of a segment; who is NOBODY in either does not count

    Returns an array of shape (n_now, n_then), 0 where both are empty.
    """
    both = (now != NOBODY) & (then != NOBODY)
    cells = now[both].astype(np.intp) * n_then + then[both]
    shared = np.bincount(cells, minlength=n_now * n_then).reshape(n_now, n_then)
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    similarity: NDArray[np.float64] = shared / np.maximum(either, 1)
    return similarity


def match(similarity: NDArray[np.float64], threshold: float) -> dict[int, int]:
    """Pair rows with columns so that the sum of the similarities above `threshold` is largest (Hungarian method).

    Parameters
    ----------
    similarity : array of shape (n_rows, n_columns)

    Returns the column of each row that has one.
    """
    worth = np.where(similarity > threshold, similarity, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0}


def closeness(
    centroids: Sequence[Mapping[str, float]], known: Sequence[RegisteredSegment], deviations: Mapping[str, float]
) -> NDArray[np.float64]:
    """Compare centroids with those of known segments: 1 for the same point, 0 from MAX_CENTROID_DISTANCE on.

    The distance is the root mean square over the features, in standard deviations.

    Parameters
    ----------
    centroids : means in the units of the table; empty for a cluster without customers
    deviations : standard deviation of each feature over all customers

    Returns an array of shape (n_clusters, n_known); segments with other features than today's are not close.
    """
    close = np.zeros((len(centroids), len(known)))
    for row, centroid in enumerate(centroids):
        for column, segment in enumerate(known):
            if centroid and centroid.keys() == segment.centroid.keys():
                steps = [(value - segment.centroid[name]) / (deviations[name] or 1.0) for name, value in centroid.items()]
                close[row, column] = max(0.0, 1 - float(np.sqrt(np.mean(np.square(steps)))) / MAX_CENTROID_DISTANCE)
    return close


def assign_segment_ids(
    matched: Mapping[int, int],
    close: NDArray[np.float64],
    own: Sequence[RegisteredSegment],
    sizes: Sequence[int],
    next_id: int,
) -> list[int]:
    """Give each cluster its segment id, one that no other has.

    First come the segments of before that were recognised; then the ids that an earlier try of this run has given, so that a
    retry comes to the same result; all others get new ids, the largest cluster first.

    Parameters
    ----------
    matched : cluster to segment id
    close : array of shape (n_clusters, n_own), see `closeness`
    own : segments that earlier tries of this run have given ids to
    sizes : customers of each cluster
    next_id : the smallest id that has never been given
    """
    ids = dict(matched)
    free = np.array([segment.segment_id not in matched.values() for segment in own], dtype=bool)
    left = np.array([cluster not in matched for cluster in range(len(sizes))])
    for cluster, column in match(close * left[:, None] * free[None, :], threshold=0).items():
        ids[cluster] = own[column].segment_id
    for cluster in sorted((cluster for cluster in range(len(sizes)) if cluster not in ids), key=lambda c: (-sizes[c], c)):
        ids[cluster] = next_id
        next_id += 1
    return [ids[cluster] for cluster in range(len(sizes))]
