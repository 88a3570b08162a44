"""Calinski-Harabasz and Davies-Bouldin indices of several models, from sums over the parts of the features.

scikit-learn's functions need all features and labels at once, and sort the labels. These sums need one part at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import KMeans

from services.evaluate.threads import one_thread
from stagekit.workers.worker_pool import PersistedParts, iter_slices

CHUNK_ROWS = 65_536  # rows and distances of a chunk fit into the cache of a core


Sums = tuple[NDArray[Any], NDArray[Any]]
"""Two sums over the members of each cluster."""


class Spread(NamedTuple):
    """The clusters of one model; arrays of length n_clusters."""

    sizes: NDArray[np.int64]
    """Numbers of customers."""
    means: NDArray[np.float64]
    """Array of shape (n_clusters, n_features); 0 for a cluster without customers."""
    distances: NDArray[np.float64]
    """Sums of the customers' distances to the mean of their cluster."""
    squares: NDArray[np.float64]
    """Sums of the squares of these distances."""


def measure_spread(features: PersistedParts, models: Mapping[int, KMeans]) -> dict[int, Spread]:
    """Measure size, mean and dispersion of the clusters of each model over all parts.

    This takes two passes over the parts, each for all models: distances to the means can be added up only once these are known.

    Parameters
    ----------
    features : PersistedParts
        Standardised features, each part an ndarray of shape (n_part, n_features).
    models : mapping of int to KMeans
        By their number of clusters.

    Returns
    -------
    dict of int to Spread
        By the number of clusters.
    """
    members = _add_up(features.map(partial(_count_and_sum, models=models)))
    means = {
        k: np.divide(sums, sizes[:, np.newaxis], out=np.zeros_like(sums), where=sizes[:, np.newaxis] > 0)
        for k, (sizes, sums) in members.items()
    }
    distances = _add_up(features.map(partial(_sum_distances, models=models, means=means)))
    return {k: Spread(members[k][0], means[k], *distances[k]) for k in models}


def calinski_harabasz(spread: Spread) -> float:
    """Compute the index as `sklearn.metrics.calinski_harabasz_score` does (Caliński and Harabasz 1974); higher is better."""
    present = spread.sizes > 0
    sizes, means = spread.sizes[present], spread.means[present]
    n_customers, n_clusters = sizes.sum(), len(sizes)
    between = sizes @ np.square(means - sizes @ means / n_customers).sum(axis=1)
    within = spread.squares.sum()
    return float(between * (n_customers - n_clusters) / (within * (n_clusters - 1))) if within else 1.0


def davies_bouldin(spread: Spread) -> float:
    """Compute the index as `sklearn.metrics.davies_bouldin_score` does (Davies and Bouldin 1979); lower is better."""
    present = spread.sizes > 0
    mean_distances = spread.distances[present] / spread.sizes[present]
    between = squareform(pdist(spread.means[present]))
    if np.allclose(mean_distances, 0) or np.allclose(between, 0):
        return 0.0
    between[between == 0] = np.inf
    return float(((mean_distances + mean_distances[:, np.newaxis]) / between).max(axis=1).mean())


def _count_and_sum(rows: NDArray[np.float64], *, models: Mapping[int, KMeans]) -> dict[int, Sums]:
    """Count and add up the members of each cluster."""

    def add(chunk: NDArray[np.float64], k: int) -> Sums:
        labels = models[k].predict(chunk)
        membership = csr_array((np.ones(len(chunk)), labels, np.arange(len(chunk) + 1)), shape=(len(chunk), k))
        return np.bincount(labels, minlength=k), membership.T @ chunk

    return _each_chunk(add, rows, models)


def _sum_distances(
    rows: NDArray[np.float64], *, models: Mapping[int, KMeans], means: Mapping[int, NDArray[np.float64]]
) -> dict[int, Sums]:
    """Add up the distances of the members of each cluster to its mean, and their squares."""

    def add(chunk: NDArray[np.float64], k: int) -> Sums:
        labels = models[k].predict(chunk)
        differences = chunk - means[k].take(labels, axis=0)
        squares = np.einsum("ij,ij->i", differences, differences)
        distances: Sums = (np.bincount(labels, np.sqrt(squares), minlength=k), np.bincount(labels, squares, minlength=k))
        return distances

    return _each_chunk(add, rows, models)


def _each_chunk(
    add: Callable[[NDArray[np.float64], int], Sums], rows: NDArray[np.float64], models: Mapping[int, KMeans]
) -> dict[int, Sums]:
    chunks = (rows[chunk] for chunk in iter_slices(len(rows), CHUNK_ROWS))
    with one_thread():
        return _add_up({k: add(chunk, k) for k in models} for chunk in chunks)


def _add_up(parts: Iterable[Mapping[int, Sums]]) -> dict[int, Sums]:
    """Add up the sums of parts by k; a part without rows has none."""
    total: dict[int, Sums] = {}
    for k, sums in chain.from_iterable(part.items() for part in parts):
        total[k] = (total[k][0] + sums[0], total[k][1] + sums[1]) if k in total else sums
    return total
