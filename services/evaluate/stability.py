"""Tell how far the clusters would come back if the customers were drawn anew."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

STARTS = 10  # as many as the lab gives each K-Means
START_CUSTOMERS = 3_000  # enough to end near the optimum where all customers would
REFINEMENTS = 5  # iterations on the resample; from a start this good, more of them move hardly anybody


class Stability(NamedTuple):
    """Means over the resamples."""

    jaccard: tuple[float, ...]
    """One per cluster: 1 where it always comes back as it was, 0 where nothing of it does."""
    ari: float
    """Adjusted Rand index of the whole grouping: 1 where it is always the same, 0 where it agrees as by chance."""


def bootstrap(
    features: NDArray[np.float64], labels: NDArray[np.int32], n_clusters: int, *, resamples: int, seed: int
) -> Stability:
    """Cluster bootstrap samples of the customers, and compare with the clusters that there are.

    After Hennig (2007), Cluster-wise assessment of cluster stability, and his `clusterboot` in R: draw as many customers with
    replacement, cluster them, and take for each cluster its largest Jaccard similarity with any of the new ones, among the
    distinct customers drawn. Below 0.6 a cluster is not to be trusted, from 0.75 it is stable, from 0.85 very stable.

    To cluster each resample from ten starts, as the sweep does, would cost many sweeps. So all resamples share ten starts, made
    by k-means++ on customers drawn anew, and each goes on from the one with the least SSE on it. The starts know nothing of
    `labels`: to begin with the clusters on trial would find even noise stable. docs/decisions has the measurements.

    Parameters
    ----------
    features : array of shape (n_customers, n_features), standardised
    labels : the cluster of each customer, from 0 to `n_clusters` - 1
    seed : decides who is drawn, the same for any number of clusters
    """
    n_customers = len(features)
    generator = np.random.default_rng(seed)
    jaccard, ari = np.zeros((resamples, n_clusters)), np.zeros(resamples)
    with _many_small_fits():
        starts = [_find_start(features, n_clusters, generator) for _ in range(STARTS)]
        squared_distances = np.column_stack([start.transform(features).min(axis=1) ** 2 for start in starts])
        for resample in range(resamples):
            times = np.bincount(generator.integers(n_customers, size=n_customers), minlength=n_customers).astype("float64")
            drawn = np.flatnonzero(times)
            if len(drawn) < n_clusters:
                continue  # too few to make the clusters again: none comes back
            start = starts[np.argmin(times @ squared_distances)].cluster_centers_
            fit = KMeans(n_clusters, init=start, n_init=1, max_iter=REFINEMENTS, tol=0)
            again = fit.fit_predict(features[drawn], sample_weight=times[drawn])
            common = np.bincount(labels[drawn] * n_clusters + again, minlength=n_clusters**2).reshape(n_clusters, n_clusters)
            jaccard[resample], ari[resample] = find_jaccard(common), find_ari(common)
    return Stability(tuple(_mean_of_present(jaccard).tolist()), float(ari.mean()))


def find_jaccard(common: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find for each cluster its largest Jaccard similarity with any of the new ones; NaN for a cluster without customers.

    Parameters
    ----------
    common : array of shape (n_clusters, n_new_clusters), the number of customers that each two have in common
    """
    sizes, new_sizes = common.sum(axis=1, keepdims=True), common.sum(axis=0, keepdims=True)
    either = sizes + new_sizes - common
    similarity = np.divide(common, either, out=np.zeros(common.shape), where=either > 0)
    return np.where(sizes[:, 0] > 0, similarity.max(axis=1), np.nan)


def find_ari(common: NDArray[np.int64]) -> float:
    """Compute the adjusted Rand index from the contingency table (Hubert and Arabie 1985).

    scikit-learn computes it from labels, which takes longer than the fit that is to be judged.
    """

    def pairs(counts: NDArray[np.int64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, first, second = pairs(common), pairs(common.sum(axis=1)), pairs(common.sum(axis=0))
    by_chance = first * second / pairs(common.sum(keepdims=True))
    largest = (first + second) / 2
    return 1.0 if largest == by_chance else (together - by_chance) / (largest - by_chance)


def _find_start(features: NDArray[np.float64], n_clusters: int, generator: np.random.Generator) -> KMeans:
    drawn = generator.integers(len(features), size=min(len(features), START_CUSTOMERS))
    return KMeans(n_clusters, n_init=1, random_state=int(generator.integers(2**31))).fit(features[drawn])


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()  # looks through every library that is loaded, which takes longer than a fit


@contextmanager
def _many_small_fits() -> Iterator[None]:
    """Fit without what only pays for large data: threads, which would wait for each other, and checks of every argument."""
    unchecked = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with _threads().limit(limits=1), unchecked, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a resample may have fewer distinct customers than clusters
        yield


def _mean_of_present(jaccard: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the resamples in which a cluster has customers; 0 where there is none."""
    present = ~np.isnan(jaccard)
    mean: NDArray[np.float64] = np.where(present, jaccard, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return mean
