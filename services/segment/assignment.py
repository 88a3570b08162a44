"""Find the segment of each customer: the one with the nearest centroid, in the space that K-Means was fitted in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from services.contract.preparation import Preparation

NOBODY = -1
"""Stands in an array of clusters for a customer who is in none."""

MAX_CENTROID_DISTANCE = 0.25
"""Distance in standard deviations within which centres are the same, whatever the spread of the customers around them. No
customer who is as close as that to the centroid is unusual."""

_PIECE = 1 << 18  # customers at a time: memory for distances to every centroid stays below 256 MB with 100 of them


class Segmenter(NamedTuple):
    """All it takes to put a customer into a segment; what is published as segmenter.pkl."""

    preparation: Preparation
    centroids: NDArray[np.float64]
    """Shape (n_segments, n_features), standardised."""
    reach: NDArray[np.float64]
    """Shape (n_segments,): the distance to its centroid beyond which a customer is unusual."""
    segment_ids: NDArray[np.int64]
    """Shape (n_segments,)"""
    names: tuple[str, ...]
    has_ids: bool
    """Whether the customers had a CUST_ID; without one nobody can be recognised later."""


class Assignment(NamedTuple):
    """Where customers belong; arrays of shape (n_customers,)."""

    cluster: NDArray[np.int16]
    """Position of the nearest centroid, NOBODY for a customer who cannot be prepared."""
    distance: NDArray[np.float64]
    """To the nearest centroid, in standard deviations; NaN for NOBODY."""
    distance_to_next: NDArray[np.float64]
    """To the second nearest."""

    def part(self, piece: slice) -> Assignment:
        return Assignment(self.cluster[piece], self.distance[piece], self.distance_to_next[piece])

    @property
    def assigned(self) -> NDArray[np.bool_]:
        assigned: NDArray[np.bool_] = self.cluster != NOBODY
        return assigned


def pieces(n_customers: int) -> Iterator[slice]:
    """Cut a long table into pieces that fit into memory beside it."""
    for start in range(0, n_customers, _PIECE):
        yield slice(start, start + _PIECE)


def assign(customers: pd.DataFrame, preparation: Preparation, centroids: NDArray[np.float64]) -> Assignment:
    """Find the nearest and the second nearest centroid of each customer.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns), in the units of the table
    centroids : array of shape (n_clusters, n_features), standardised, at least two
    """
    n_customers = len(customers)
    cluster = np.full(n_customers, NOBODY, dtype=np.int16)
    distance = np.full(n_customers, np.nan)
    distance_to_next = np.full(n_customers, np.nan)
    columns = customers[list(preparation.columns)]
    for piece in pieces(n_customers):
        part = columns.iloc[piece]
        fits = preparation.fits(part).to_numpy()
        rows = np.flatnonzero(fits) + piece.start
        if not rows.size:
            continue
        distances = cdist(preparation.transform(part[fits]), centroids)
        cluster[rows] = distances.argmin(axis=1)
        nearest = np.partition(distances, 1, axis=1)
        distance[rows], distance_to_next[rows] = nearest[:, 0], nearest[:, 1]
    return Assignment(cluster, distance, distance_to_next)


def find_lacking(preparation: Preparation, customers: pd.DataFrame) -> tuple[str, ...]:
    """Name the columns that a preparation needs and a table does not have, or has as text instead of numbers."""
    return tuple(
        name
        for name in preparation.columns
        if name not in customers or (name in preparation.feature_columns and not pd.api.types.is_numeric_dtype(customers[name]))
    )


def confidence(assignment: Assignment) -> NDArray[np.float64]:
    """1 - distance / distance_to_next: 1 on a centroid, 0 half-way between two; NaN for nobody.

    It says how clear the choice was, not how likely it is to be right: K-Means knows no probabilities.
    """
    nearest, following = assignment.distance, assignment.distance_to_next
    with np.errstate(invalid="ignore"):  # two centroids at one point: no choice, no confidence
        return np.where(following > 0, 1 - nearest / following, np.where(np.isnan(nearest), np.nan, 0.0))


def outlier_distances(assignment: Assignment, n_clusters: int) -> NDArray[np.float64]:
    """Find the distance beyond which a customer is unusual for its cluster, shape (n_clusters,).

    It is Tukey's outer fence (1977) of the distances within the cluster: three interquartile ranges above the third quartile.
    """
    reach = np.full(n_clusters, np.inf)
    for cluster in range(n_clusters):
        distances = assignment.distance[assignment.cluster == cluster]
        if distances.size:
            first, third = np.quantile(distances, (0.25, 0.75))
            reach[cluster] = third + 3 * (third - first)
    return reach


def is_outlier(assignment: Assignment, reach: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the outliers: customers farther from their centroid than `reach` and than MAX_CENTROID_DISTANCE.

    In a segment of one customer, or of customers with equal features, `reach` alone is 0 and anybody else would be unusual.
    """
    return assignment.assigned & (assignment.distance > np.maximum(reach, MAX_CENTROID_DISTANCE)[assignment.cluster])


def sum_shifts(
    customers: pd.DataFrame, previous: Preparation, centroids: NDArray[np.float64], current: Preparation
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sum how far customers are moved by another preparation, and count them, by previous segment; see `translate`.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
    centroids : array of shape (n_segments, n_features), in the space of `previous`
    current : a preparation of the same features in the same order
    """
    sums, counts = np.zeros(centroids.shape), np.zeros(len(centroids), dtype=np.intp)
    for piece in pieces(len(customers)):
        part = customers.iloc[piece]
        part = part[previous.fits(part) & current.fits(part)]
        if part.empty:
            continue
        before, now = previous.transform(part), current.transform(part)
        cluster = cdist(before, centroids).argmin(axis=1)
        counts += np.bincount(cluster, minlength=len(centroids))
        for feature, shifts in enumerate((now - before).T):
            sums[:, feature] += np.bincount(cluster, weights=shifts, minlength=len(centroids))
    return sums, counts
