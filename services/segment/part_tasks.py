"""Functions of one part of the customers, run by a worker of the pool, and functions that combine the results of all parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from services.segment.assignment import (
    CHUNK_ROWS,
    UNASSIGNED,
    Assignment,
    Segmenter,
    add_by_cluster,
    assign,
    is_outlier,
    iter_prepared,
    nearest_centroid,
)
from services.segment.matching import count_pairs
from services.segment.membership import store_ids
from services.segment.sampling import Sample
from stagekit.volume.parts import Part
from stagekit.workers.worker_pool import PersistedParts, iter_slices


class CustomerPart(NamedTuple):
    """A part of the customers: the columns that are needed in memory, the ids on the volume."""

    columns: pd.DataFrame
    """Shape (n_customers, n_columns), in the units of the table, without CUST_ID."""
    ids: Path | None
    """See `store_ids`; None if the table has no CUST_ID."""
    assignment: Assignment | None = None
    previous_cluster: NDArray[np.int16] | None = None
    """Position of the previous segment of each customer, or UNASSIGNED."""
    is_typical: NDArray[np.bool_] | None = None
    """Whether each customer is typical enough of its previous segment to count when that is recognised."""
    sample: Sample | None = None
    """Customers drawn from the part, with all columns."""

    @property
    def n_customers(self) -> int:
        """Number of customers."""
        return len(self.columns)

    @property
    def assigned(self) -> Assignment:
        """The assignment of a part that has one."""
        assert self.assignment is not None
        return self.assignment


class ClusterSums(NamedTuple):
    """Sums over the customers of parts."""

    sizes: NDArray[np.intp]
    """Number of customers of each cluster, shape (n_clusters,)."""
    sse: float
    """Sum of the squared distances to the nearest centroid."""
    shared: NDArray[np.intp]
    """See `count_pairs`; without previous segments it has no columns."""


def load_part(
    numbered: tuple[int, Part], *, columns: Collection[str], folder: Path, draw: Callable[[pd.DataFrame, int], Sample]
) -> CustomerPart:
    """Load those of `columns` that a part has, store its ids in `folder`, and draw a sample of all columns."""
    number, part = numbered
    customers = part.load()
    return split_ids(customers, columns, folder)._replace(sample=draw(customers, number))


def split_ids(customers: pd.DataFrame, columns: Collection[str], folder: Path) -> CustomerPart:
    """Keep those of `columns` that a table has, and store its ids in `folder`."""
    ids = store_ids(customers[CUSTOMER_ID], folder) if CUSTOMER_ID in customers else None
    return CustomerPart(customers[[name for name in customers if name in columns]].copy(), ids)


def assign_part(part: CustomerPart, *, preparation: Preparation, centroids: NDArray[np.float64]) -> CustomerPart:
    """Assign the customers of a part; see `assign`."""
    return part._replace(assignment=assign(part.columns, preparation, centroids))


def locate_by_centroids(part: CustomerPart, *, segmenter: Segmenter) -> CustomerPart:
    """Find the previous segment of each customer by its current features; outliers are not typical."""
    assignment = assign(part.columns, segmenter.preparation, segmenter.centroids)
    return part._replace(previous_cluster=assignment.cluster, is_typical=~is_outlier(assignment, segmenter.outlier_distance))


def locate_by_membership(
    part: CustomerPart, previous_ids: NDArray[np.int32] | None, *, positions: Mapping[int, int]
) -> CustomerPart:
    """Take the previous segment of each customer by its previous segment id; all are typical."""
    known = np.zeros(part.n_customers, dtype=np.int32) if previous_ids is None else previous_ids
    previous = pd.Series(known).map(positions).fillna(UNASSIGNED).to_numpy().astype(np.int16)
    return part._replace(previous_cluster=previous, is_typical=np.ones(part.n_customers, dtype=np.bool_))


def sum_clusters(parts: PersistedParts, n_clusters: int, n_previous: int = 0) -> ClusterSums:
    """Add up the clusters of all parts."""
    return ClusterSums(*add_up(parts.map(partial(_sum_clusters, n_clusters=n_clusters, n_previous=n_previous))))


def _sum_clusters(part: CustomerPart, *, n_clusters: int, n_previous: int) -> ClusterSums:
    cluster = part.assigned.cluster
    is_assigned = part.assigned.is_assigned
    shared = np.zeros((n_clusters, 0), dtype=np.intp)
    if part.previous_cluster is not None and part.is_typical is not None:
        shared = count_pairs(cluster, np.where(part.is_typical, part.previous_cluster, UNASSIGNED), n_clusters, n_previous)
    sse = float(np.square(part.assigned.distance[is_assigned]).sum())
    return ClusterSums(np.bincount(cluster[is_assigned], minlength=n_clusters), sse, shared)


def sum_previous(
    part: CustomerPart, *, preparation: Preparation, n_previous: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sum the standardised features of the customers of each previous segment, and count them."""
    sums, counts = np.zeros((n_previous, len(preparation.feature_columns))), np.zeros(n_previous, dtype=np.intp)
    assert part.previous_cluster is not None
    for rows, features in iter_prepared(part.columns, preparation):
        previous = part.previous_cluster[rows]
        is_known = previous != UNASSIGNED
        counts += np.bincount(previous[is_known], minlength=n_previous)
        add_by_cluster(sums, previous[is_known], features[is_known])
    return sums, counts


def sum_nearest(
    part: CustomerPart, *, preparation: Preparation, centroids: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sum the standardised features of the customers nearest to each centroid, and count them: half a Lloyd iteration."""
    sums, counts = np.zeros(centroids.shape), np.zeros(len(centroids), dtype=np.intp)
    for _, features in iter_prepared(part.columns, preparation):
        cluster = nearest_centroid(features, centroids)
        counts += np.bincount(cluster, minlength=len(centroids))
        add_by_cluster(sums, cluster, features)
    return sums, counts


def add_up(results: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Add up the results of all parts, each a tuple of numbers or arrays."""
    return tuple(sum(values[1:], start=values[0]) for values in zip(*results, strict=True))


def count_groups(part: CustomerPart, *, preparation: Preparation) -> tuple[int, int]:
    """Count the customers of a part without a known group; see `Preparation.count_groups`."""
    return preparation.count_groups(part.columns)


def sum_shifts(
    part: CustomerPart, *, segmenter: Segmenter, preparation: Preparation
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Sum how far a preparation moves the customers of each segment of `segmenter`, and count them; see `translate`.

    Parameters
    ----------
    part : CustomerPart
    segmenter : Segmenter
    preparation : Preparation
        Another one, of the same features in the same order.

    Returns
    -------
    sums : ndarray of shape (n_segments, n_features)
    counts : ndarray of shape (n_segments,)
    """
    sums, counts = np.zeros(segmenter.centroids.shape), np.zeros(len(segmenter.centroids), dtype=np.intp)
    for chunk in iter_slices(part.n_customers, CHUNK_ROWS):
        customers = part.columns.iloc[chunk]
        customers = customers[segmenter.preparation.fits(customers) & preparation.fits(customers)]
        if customers.empty:
            continue
        before, after = segmenter.preparation.transform(customers), preparation.transform(customers)
        cluster = nearest_centroid(before, segmenter.centroids)
        counts += np.bincount(cluster, minlength=len(counts))
        add_by_cluster(sums, cluster, after - before)
    return sums, counts
