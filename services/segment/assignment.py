"""Find the segment of each customer: the one with the nearest centroid, in the space that K-Means was fitted in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from services.contract.preparation import Preparation
from stagekit.workers.worker_pool import iter_slices

UNASSIGNED = -1
"""Cluster of a customer who has none."""

MAX_CENTROID_DISTANCE = 0.25
"""Distance in standard deviations within which two centroids count as equal, whatever the spread of the customers around them.
No customer within this distance of the centroid is an outlier."""

CHUNK_ROWS = 1 << 16  # the distances to ten centroids fit into the cache of a core, those to 100 take 50 MB


class Segmenter(NamedTuple):
    """All that is needed to put a customer into a segment; published as segmenter.pkl."""

    preparation: Preparation
    centroids: NDArray[np.float64]
    """Shape (n_segments, n_features), standardised."""
    outlier_distance: NDArray[np.float64]
    """Shape (n_segments,): the distance to its centroid beyond which a customer is an outlier. Former name: reach."""
    segment_ids: NDArray[np.int64]
    """Shape (n_segments,)"""
    names: tuple[str, ...]
    has_ids: bool
    """Whether the customers had a CUST_ID; without one no customer can be recognised later."""


def to_segmenter(values: Mapping[str, Any]) -> Segmenter:
    """Make a segmenter of the content of segmenter.pkl, which may have the former names of fields."""
    return Segmenter(**{"outlier_distance" if name == "reach" else name: value for name, value in values.items()})


class Assignment(NamedTuple):
    """Nearest and second nearest centroid; arrays of shape (n_customers,)."""

    cluster: NDArray[np.int16]
    """Position of the nearest centroid, UNASSIGNED for a customer to whom the preparation cannot be applied."""
    next_cluster: NDArray[np.int16]
    """Position of the second nearest centroid."""
    distance: NDArray[np.float64]
    """To the nearest centroid, in standard deviations; NaN for UNASSIGNED."""
    distance_to_next: NDArray[np.float64]
    """To the second nearest."""

    @property
    def is_assigned(self) -> NDArray[np.bool_]:
        """Mask of the customers who have a cluster."""
        is_assigned: NDArray[np.bool_] = self.cluster != UNASSIGNED
        return is_assigned


def iter_prepared(
    customers: pd.DataFrame, preparation: Preparation
) -> Iterator[tuple[slice | NDArray[np.intp], NDArray[np.float64]]]:
    """Prepare the customers, chunk by chunk.

    Yields
    ------
    rows : slice or ndarray of shape (n_prepared,)
        Positions of the customers to whom the preparation can be applied, at least one.
    features : ndarray of shape (n_prepared, n_features)
        Their standardised features.
    """
    columns = customers[list(preparation.columns)]
    for chunk in iter_slices(len(columns), CHUNK_ROWS):
        part = columns.iloc[chunk]
        can_transform = preparation.fits(part).to_numpy()
        if can_transform.all():
            yield chunk, preparation.transform(part)
        elif can_transform.any():
            yield np.flatnonzero(can_transform) + chunk.start, preparation.transform(part[can_transform])


def assign(customers: pd.DataFrame, preparation: Preparation, centroids: NDArray[np.float64]) -> Assignment:
    """Find the nearest and the second nearest centroid of each customer.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
        In the units of the table.
    preparation : Preparation
    centroids : ndarray of shape (n_clusters, n_features)
        Standardised; at least two.

    Returns
    -------
    Assignment
    """
    n_customers = len(customers)
    assignment = Assignment(
        np.full(n_customers, UNASSIGNED, dtype=np.int16),
        np.full(n_customers, UNASSIGNED, dtype=np.int16),
        np.full(n_customers, np.nan),
        np.full(n_customers, np.nan),
    )
    for rows, features in iter_prepared(customers, preparation):
        distances = cdist(features, centroids)
        each = np.arange(len(features))
        nearest = distances.argmin(axis=1)
        assignment.cluster[rows], assignment.distance[rows] = nearest, distances[each, nearest]
        distances[each, nearest] = np.inf
        following = distances.argmin(axis=1)
        assignment.next_cluster[rows], assignment.distance_to_next[rows] = following, distances[each, following]
    return assignment


def decisive_features(
    customers: pd.DataFrame, preparation: Preparation, centroids: NDArray[np.float64], assignment: Assignment
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Find the feature that contributes most to the assignment, and the one that contributes most towards the next cluster.

    With x_j the standardised feature j of a customer, o_j and n_j that of the own and of the next centroid, the contribution of
    feature j is (x_j - n_j)^2 - (x_j - o_j)^2. The contributions sum to distance_to_next^2 - distance^2, so they explain the
    choice between the two clusters exactly. A positive contribution favours the own cluster, a negative one the next.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
        In the units of the table.
    preparation : Preparation
    centroids : ndarray of shape (n_clusters, n_features)
        Standardised.
    assignment : Assignment
        Of these customers to these centroids.

    Returns
    -------
    own_feature : ndarray of shape (n_customers,)
        Position of the feature with the largest contribution if that is positive; UNASSIGNED otherwise.
    next_feature : ndarray of shape (n_customers,)
        Position of the feature with the smallest contribution if that is negative; UNASSIGNED otherwise.
    """
    own_feature, next_feature = (np.full(len(customers), UNASSIGNED, dtype=np.int16) for _ in range(2))
    for rows, features in iter_prepared(customers, preparation):
        cluster, next_cluster = assignment.cluster[rows], assignment.next_cluster[rows]
        largest, smallest = np.zeros(len(features)), np.zeros(len(features))
        own, following = own_feature[rows], next_feature[rows]
        for position, column in enumerate(features.T):
            contribution = np.square(column - centroids[next_cluster, position]) - np.square(
                column - centroids[cluster, position]
            )
            own[contribution > largest] = position
            following[contribution < smallest] = position
            np.maximum(largest, contribution, out=largest)
            np.minimum(smallest, contribution, out=smallest)
        own_feature[rows], next_feature[rows] = own, following
    return own_feature, next_feature


def nearest_centroid(features: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the position of the nearest centroid of each customer, given their standardised features."""
    nearest: NDArray[np.intp] = cdist(features, centroids).argmin(axis=1)
    return nearest


def add_by_cluster(totals: NDArray[np.float64], cluster: NDArray[np.integer], values: NDArray[np.float64]) -> None:
    """Add the rows of `values` to the totals of their clusters.

    Parameters
    ----------
    totals : ndarray of shape (n_clusters, n_features)
        Changed in place.
    cluster : ndarray of shape (n_customers,)
        Positions in `totals`.
    values : ndarray of shape (n_customers, n_features)
    """
    for feature, column in enumerate(values.T):
        totals[:, feature] += np.bincount(cluster, weights=column, minlength=len(totals))


def find_missing_columns(preparation: Preparation, dtypes: pd.Series[Any]) -> tuple[str, ...]:
    """Name the columns that a preparation needs and a table does not have, or has as text instead of numbers."""
    return tuple(
        name
        for name in preparation.columns
        if name not in dtypes or (name in preparation.feature_columns and not pd.api.types.is_numeric_dtype(dtypes[name]))
    )


def confidence(assignment: Assignment) -> NDArray[np.float64]:
    """Return 1 - distance / distance_to_next: 1 on a centroid, 0 half-way between two; NaN for unassigned customers.

    It measures how clear the choice is, not how likely it is to be right: K-Means has no probabilities.
    """
    nearest, following = assignment.distance, assignment.distance_to_next
    with np.errstate(invalid="ignore"):  # two centroids at one point: no choice, no confidence
        return np.where(following > 0, 1 - nearest / following, np.where(np.isnan(nearest), np.nan, 0.0))


def outlier_distances(
    distances: Sequence[tuple[NDArray[np.integer], NDArray[np.float64]]], n_clusters: int
) -> NDArray[np.float64]:
    """Find the distance beyond which a customer is an outlier of its cluster.

    It is Tukey's outer fence of the distances within the cluster: three interquartile ranges above the third quartile.

    Parameters
    ----------
    distances : sequence of pairs of ndarray of shape (n_customers,)
        Cluster and distance of the customers of each part; see `Assignment`.
    n_clusters : int

    Returns
    -------
    ndarray of shape (n_clusters,)
        Infinite for a cluster without customers.

    References
    ----------
    Tukey 1977, Exploratory Data Analysis.
    """
    fences = np.full(n_clusters, np.inf)
    for position in range(n_clusters):
        members = np.concatenate([distance[cluster == position] for cluster, distance in distances])
        if members.size:
            first, third = np.quantile(members, (0.25, 0.75), overwrite_input=True)
            fences[position] = third + 3 * (third - first)
    return fences


def is_outlier(assignment: Assignment, fences: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the customers farther from their centroid than `fences` and than MAX_CENTROID_DISTANCE.

    In a segment of one customer, or of customers with equal features, the fence alone is 0, and any other customer would be an
    outlier.
    """
    return assignment.is_assigned & (assignment.distance > np.maximum(fences, MAX_CENTROID_DISTANCE)[assignment.cluster])
