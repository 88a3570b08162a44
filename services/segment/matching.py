"""Recognise segments, although every training numbers its clusters differently.

Both segmentations are compared on the current customers, prepared as for the previous segments. Each customer is in a current
cluster and, by the previous centroids, in a previous segment, unless it is an outlier of that segment. A cluster and a segment
match if they share most of these customers. Scaling, logarithms, groups, and even other features or another number of segments
therefore need no translation. Customers unlike any previous ones form a new segment instead of blurring an old one. The same
holds for customers whose behaviour has changed; matching segments by past membership would let them blur the segment that they
used to be in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.contract.segment_registry import RegisteredSegment
from services.segment.assignment import MAX_CENTROID_DISTANCE, UNASSIGNED

MIN_JACCARD = 0.5
"""Jaccard similarity above which two segments are the same: of the customers in either, more than half are in both. Hennig
(2007, Cluster-wise assessment of cluster stability) calls a cluster dissolved if no other is above it. No segment can be above
it with two others."""


def jaccard_matrix(shared: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the Jaccard similarity of every current cluster with every previous segment.

    Parameters
    ----------
    shared : ndarray of shape (n_clusters, n_previous)
        Number of customers in both; see `count_pairs`.

    Returns
    -------
    ndarray of shape (n_clusters, n_previous)
        0 if both are empty.
    """
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    similarity: NDArray[np.float64] = shared / np.maximum(either, 1)
    return similarity


def count_pairs(
    cluster: NDArray[np.integer], previous: NDArray[np.integer], n_clusters: int, n_previous: int
) -> NDArray[np.intp]:
    """Count the customers in every pair of a current cluster and a previous segment.

    Parameters
    ----------
    cluster, previous : ndarray of shape (n_customers,)
        Positions; customers with UNASSIGNED in either do not count.

    Returns
    -------
    ndarray of shape (n_clusters, n_previous)
    """
    both = (cluster != UNASSIGNED) & (previous != UNASSIGNED)
    cells = cluster[both].astype(np.intp) * n_previous + previous[both]
    return np.bincount(cells, minlength=n_clusters * n_previous).reshape(n_clusters, n_previous)


def match_clusters(similarity: NDArray[np.float64], threshold: float) -> dict[int, int]:
    """Pair rows with columns so that the sum of the similarities above `threshold` is largest (Hungarian method).

    Parameters
    ----------
    similarity : ndarray of shape (n_rows, n_columns)
    threshold : float

    Returns
    -------
    dict of int to int
        The column of each row that has one.
    """
    worth = np.where(similarity > threshold, similarity, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0}


def centroid_similarity(
    centroids: Sequence[Mapping[str, float]], segments: Sequence[RegisteredSegment], deviations: Mapping[str, float]
) -> NDArray[np.float64]:
    """Compare centroids with those of registered segments: 1 for the same point, 0 from MAX_CENTROID_DISTANCE on.

    The distance is the root mean square over the features, in standard deviations.

    Parameters
    ----------
    centroids : sequence of dict
        Means in the units of the table; empty for a cluster without customers.
    segments : sequence of RegisteredSegment
    deviations : dict
        Standard deviation of each feature over all customers.

    Returns
    -------
    ndarray of shape (n_clusters, n_segments)
        0 for a segment with other features than the current ones.
    """
    similarity = np.zeros((len(centroids), len(segments)))
    for row, centroid in enumerate(centroids):
        for column, segment in enumerate(segments):
            if centroid and centroid.keys() == segment.centroid.keys():
                steps = [(value - segment.centroid[name]) / (deviations[name] or 1.0) for name, value in centroid.items()]
                similarity[row, column] = max(0.0, 1 - float(np.sqrt(np.mean(np.square(steps)))) / MAX_CENTROID_DISTANCE)
    return similarity


def assign_segment_ids(
    matched: Mapping[int, int],
    similarity: NDArray[np.float64],
    own_segments: Sequence[RegisteredSegment],
    sizes: Sequence[int],
    next_id: int,
) -> list[int]:
    """Give each cluster a distinct segment id.

    A cluster that matches a previous segment keeps its id. A cluster like one to which an earlier try of this run gave an id
    gets that id, so that a retry has the same result. All others get new ids, the largest cluster first.

    Parameters
    ----------
    matched : dict of cluster to segment id
    similarity : ndarray of shape (n_clusters, n_own)
        See `centroid_similarity`.
    own_segments : sequence of RegisteredSegment
        Segments to which earlier tries of this run have given ids.
    sizes : sequence of int
        Number of customers of each cluster.
    next_id : int
        The smallest id that has never been given.

    Returns
    -------
    list of int
        The id of each cluster.
    """
    ids = dict(matched)
    is_free = np.array([segment.segment_id not in matched.values() for segment in own_segments], dtype=bool)
    has_no_id = np.array([cluster not in matched for cluster in range(len(sizes))])
    for cluster, column in match_clusters(similarity * has_no_id[:, None] * is_free[None, :], threshold=0).items():
        ids[cluster] = own_segments[column].segment_id
    for cluster in sorted((cluster for cluster in range(len(sizes)) if cluster not in ids), key=lambda c: (-sizes[c], c)):
        ids[cluster] = next_id
        next_id += 1
    return [ids[cluster] for cluster in range(len(sizes))]
