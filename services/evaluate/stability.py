"""Estimate the stability of clusters: the similarity of the clusters of bootstrap resamples to them."""

from __future__ import annotations

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import sem
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from services.evaluate.threads import one_thread, thread_pool
from stagekit.workers.progress import progress

RESAMPLE_INITIALISATIONS = 8  # k-means++; their best optimum is about as good as that of ten random ones of R's kmeans
MAX_INITIALISATION_CUSTOMERS = 6_000  # above, they run on a weighted sample of the resample, and the best one on all of it
MAX_DRAWN = 60_000  # customers drawn for a resample


class Stability(NamedTuple):
    """Means over the resamples, with their standard errors."""

    jaccard: tuple[float, ...]
    """Mean Jaccard similarity of each cluster, in the order of the labels: 1 if every resample contains the same cluster."""
    jaccard_se: tuple[float, ...]
    ari: float
    """Mean adjusted Rand index of the partition: 1 if it is the same in every resample, 0 if it agrees as by chance."""
    ari_se: float


def bootstrap_stability(
    features: NDArray[np.float64], labels: NDArray[np.int32], n_clusters: int, *, n_resamples: int, seed: int
) -> Stability:
    """Cluster bootstrap resamples of the customers, and compare the result with the given clusters.

    This is the method of Hennig (2007) as R's `fpc::clusterboot(bootmethod="boot")` implements it: each resample is reduced to
    its distinct customers and clustered from several independent initialisations. The stability of a cluster is its largest
    Jaccard similarity with any cluster of the resample, or 0 if the resample contains none of its members. A cluster with a
    mean below 0.6 should not be trusted; from 0.75 it is stable, from 0.85 highly stable.

    Of more than MAX_DRAWN customers, that many are drawn for each resample (the m-out-of-n bootstrap). Clusters are then as
    stable as those of a table of that size, which are rather less stable than those of a larger one.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
        Standardised.
    labels : ndarray of shape (n_customers,)
        The cluster of each customer, from 0 to `n_clusters` - 1.
    n_clusters : int
    n_resamples : int
        At least 2.
    seed : int
        Determines the resamples, which are the same for any `n_clusters`, and their initialisations.

    References
    ----------
    Hennig (2007), Cluster-wise assessment of cluster stability.
    Bickel, Götze and van Zwet (1997), Resampling fewer than n observations.
    """
    compare = partial(_compare, features, labels, n_clusters)
    with warnings.catch_warnings(), thread_pool() as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # a resample may have fewer distinct rows than clusters
        generators = [np.random.default_rng([seed, number]) for number in range(n_resamples)]
        contingencies = list(progress(pool.map(compare, generators), "bootstrap", n_resamples, unit="resample"))
    jaccard = np.array([max_jaccard(contingency) for contingency in contingencies])
    ari = np.array([adjusted_rand_index(contingency) for contingency in contingencies])
    return Stability(
        jaccard=tuple(jaccard.mean(axis=0).tolist()),
        jaccard_se=tuple(sem(jaccard).tolist()),
        ari=float(ari.mean()),
        ari_se=float(sem(ari)),
    )


def draw_distinct(n_customers: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many customers as the table has, at most MAX_DRAWN, with replacement.

    Returns
    -------
    ndarray of shape (n_distinct,)
        The row numbers of the distinct customers drawn, ascending.
    """
    drawn = generator.integers(n_customers, size=min(n_customers, MAX_DRAWN))
    return np.flatnonzero(np.bincount(drawn, minlength=n_customers))


def max_jaccard(contingency: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find the largest Jaccard similarity of each cluster with any cluster of the resample; 0 for a cluster without members.

    Parameters
    ----------
    contingency : ndarray of shape (n_clusters, n_resample_clusters)
        The number of customers that each pair of clusters has in common.

    Returns
    -------
    ndarray of shape (n_clusters,)
    """
    sizes, resample_sizes = contingency.sum(axis=1, keepdims=True), contingency.sum(axis=0, keepdims=True)
    unions = sizes + resample_sizes - contingency
    similarity = np.divide(contingency, unions, out=np.zeros(contingency.shape), where=unions > 0)
    largest: NDArray[np.float64] = similarity.max(axis=1)
    return largest


def adjusted_rand_index(contingency: NDArray[np.int64]) -> float:
    """Compute the adjusted Rand index from the contingency table; 0 without customers.

    scikit-learn computes it from labels, which takes longer than the fit to be assessed.

    Parameters
    ----------
    contingency : ndarray of shape (n_clusters, n_resample_clusters)

    References
    ----------
    Hubert and Arabie (1985), Comparing partitions.
    """

    def pairs(counts: NDArray[np.int64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    if not contingency.any():
        return 0.0
    together, first, second = pairs(contingency), pairs(contingency.sum(axis=1)), pairs(contingency.sum(axis=0))
    by_chance = first * second / pairs(contingency.sum(keepdims=True))
    largest = (first + second) / 2
    return 1.0 if largest == by_chance else (together - by_chance) / (largest - by_chance)


def _compare(
    features: NDArray[np.float64], labels: NDArray[np.int32], n_clusters: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Cluster the distinct customers of a resample; returns their contingency table with the given clusters."""
    distinct = draw_distinct(len(features), generator)
    contingency = np.zeros((n_clusters, n_clusters), dtype=np.int64)
    if len(distinct) < n_clusters:
        return contingency  # too few customers to cluster: no cluster has a counterpart
    with one_thread():
        resample_labels = _cluster(features[distinct], n_clusters, generator)
    np.add.at(contingency, (labels[distinct], resample_labels), 1)
    return contingency


def _cluster(features: NDArray[np.float64], n_clusters: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """Find the best of several K-Means solutions; returns its labels."""
    if len(features) <= MAX_INITIALISATION_CUSTOMERS:
        random_state = int(generator.integers(2**32))
        return np.asarray(KMeans(n_clusters, n_init=RESAMPLE_INITIALISATIONS, random_state=random_state).fit_predict(features))
    sample, weights = _draw_coreset(features, MAX_INITIALISATION_CUSTOMERS, generator)
    seeds = generator.integers(2**32, size=RESAMPLE_INITIALISATIONS).tolist()
    initialisations = [KMeans(n_clusters, n_init=1, random_state=seed).fit(sample, sample_weight=weights) for seed in seeds]
    # Ranked on all customers: the sampling error of the SSE is larger than the differences between the optima.
    best = max(initialisations, key=lambda model: model.score(features))
    return np.asarray(KMeans(n_clusters, init=best.cluster_centers_, n_init=1).fit_predict(features))


def _draw_coreset(
    features: NDArray[np.float64], n_customers: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw a weighted sample (lightweight coreset); a uniform sample misses small, distant clusters.

    References
    ----------
    Bachem, Lucic and Krause (2018), Scalable k-means clustering via lightweight coresets.
    """
    squares = np.square(features - features.mean(axis=0)).sum(axis=1)
    probability = (
        0.5 / len(features) + 0.5 * squares / squares.sum() if squares.any() else np.full(len(features), 1 / len(features))
    )
    drawn = generator.choice(len(features), n_customers, p=probability)
    return features[drawn], 1 / probability[drawn]
