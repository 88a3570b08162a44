"""Decide whether the customers form separate groups, or K-Means divides one group into segments.

K-Means divides any data. Gaps between its segments are therefore compared with those under a null model that has the margins
and correlations of the data and no clusters (`null_model.py`). docs/decisions/0012-cluster-structure.md lists the alternatives
that were tried, docs/trust.md the results on populations with a known answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from math import sqrt
from operator import sub
from typing import Literal, NamedTuple

import numpy as np
from diptest import dipstat
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from services.contract.results import STABLE, FeatureDip, NullComparison, Structure
from services.evaluate.null_model import NullModel, draw_customers, find_end_atoms, fit_null_model, spread_ties
from services.evaluate.threads import one_thread, thread_pool
from stagekit.workers.progress import progress

STRUCTURE_CUSTOMERS = 10_000  # size of the sample; the scaled dip of a gap grows with their square root
N_DRAWS = 49  # tables drawn from the null model: the smallest p-value is 0.02
STRUCTURE_INITIALISATIONS = 10  # the same for the data and for each draw, because another local optimum has other gaps
TUBE_SHARE = 0.5  # of the customers of two segments that lie in the tube between their centroids
MIN_TUBE_CUSTOMERS = 20
ROUNDING = 1e-9  # of squared distances, in squared standard deviations; in one feature all customers are on the line
MIN_PROJECTED_SHARE = 0.1  # of the customers; if fewer have neither a zero nor another end atom, all are projected

# What the deepest gap must reach for the groups to count as separate.
MIN_SEPARATION = 0.6  # as a scaled dip: Hartigan's dip test of one distribution rejects a single mode at the level 0.02
MIN_RATIO = 1.5  # effect size: in multiples of the null model's mean
MIN_DEVIATIONS = 6  # significance: beyond the null model's mean, in its standard deviations
# What the dip of one feature must reach instead; also MIN_RATIO times its mean in the null model.
MIN_FEATURE_DIP = 0.02  # effect size: a group of 13 % at 6 of its standard deviations, or one of 5 % far away
MIN_SCALED_FEATURE_DIP = 0.8  # significance: Hartigan's dip test rejects a single mode at the level 0.0003

Floats = NDArray[np.float64]


class _Statistics(NamedTuple):
    separation: float
    silhouette: float
    feature_dips: tuple[float, ...]


def assess_structure(features: Floats, n_clusters: int, *, seed: int) -> Structure:
    """Compare the segments of the data with those of tables drawn from a null model without clusters.

    The data and each drawn table are clustered with K-Means, and three statistics are compared. Two of them decide; either is
    enough for separate groups:

    - The *separation* is the scaled dip of the deepest gap between segments (`measure_separation`). It must reach
      MIN_SEPARATION and exceed the mean of the null model by MIN_RATIO and MIN_DEVIATIONS.
    - The *dip of a feature* finds groups that differ in only one of several features, which K-Means may cut across. It must
      reach MIN_FEATURE_DIP and MIN_SCALED_FEATURE_DIP, and exceed the mean of the null model by MIN_RATIO.
    - The *simplified silhouette* (Hruschka et al. 2004) is the mean over the customers of 1 - distance to the nearest
      centroid / distance to the next one. It describes how compact the segments are. It does not decide: it also differs
      from the null model if the dependence of features is not that of a Gaussian copula.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
        Standardised. From more than STRUCTURE_CUSTOMERS customers, that many are drawn.
    n_clusters : int
        From 2 to n_customers - 1.
    seed : int
        Determines the sample of customers and the draws from the null model.

    References
    ----------
    Hartigan and Hartigan (1985), The dip test of unimodality.
    Hruschka, de Castro and Campello (2004), Evolutionary algorithms for clustering gene-expression data.
    """
    generator = np.random.default_rng(seed)
    if len(features) > STRUCTURE_CUSTOMERS:
        features = features[generator.choice(len(features), STRUCTURE_CUSTOMERS, replace=False)]
    features = spread_ties(features, generator)
    null = fit_null_model(features)
    with warnings.catch_warnings(), thread_pool() as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # a table may have fewer distinct customers than clusters
        pending = pool.submit(_measure, features, null, n_clusters, seed)
        draw_null = pool.map(partial(_draw_and_measure, null, n_clusters, seed), range(N_DRAWS))
        draws = list(progress(draw_null, "test structure", N_DRAWS, unit="draw"))
        observed = pending.result()
    separation = _compare(observed.separation, [draw.separation for draw in draws], _ratio)
    null_dips = np.mean([draw.feature_dips for draw in draws], axis=0).tolist()
    feature_dips = tuple(
        FeatureDip(dip=dip, null_mean=mean) for dip, mean in zip(observed.feature_dips, null_dips, strict=True)
    )
    return Structure(
        k=n_clusters,
        n_customers=len(features),
        separation=separation,
        silhouette=_compare(observed.silhouette, [draw.silhouette for draw in draws], sub),
        feature_dips=feature_dips,
        is_structured=_is_separate(separation) or any(_has_groups(feature, len(features)) for feature in feature_dips),
    )


def classify(is_structured: bool, jaccard: Sequence[float | None]) -> Literal["natural", "reproducible", "constructive"]:
    """Classify a segmentation as natural, reproducible or constructive.

    Parameters
    ----------
    is_structured : bool
        Whether the data has separate groups.
    jaccard : sequence of float or None
        Mean bootstrap Jaccard similarity of each segment, None for a segment that is too small to assess.

    Returns
    -------
    {"natural", "reproducible", "constructive"}
        Natural: separate groups. Reproducible: no separate groups, but each segment is stable (0.75 or more, Hennig 2007).
        Constructive: neither. A segment that could not be assessed does not count as stable.

    References
    ----------
    Dolnicar, Grün and Leisch (2018), Market Segmentation Analysis.
    Hennig (2007), Cluster-wise assessment of cluster stability.
    """
    if is_structured:
        return "natural"
    return "reproducible" if all(value is not None and value >= STABLE for value in jaccard) else "constructive"


def measure_separation(features: Floats, centroids: Floats, labels: NDArray[np.int32]) -> float:
    """Measure the deepest gap that divides the segments into two groups.

    For each pair of segments, the customers in a tube around the line through both centroids are projected onto that line, and
    Hartigan's dip (1985) measures how far their distribution is from the nearest one with a single mode. The tube is as wide as
    holds TUBE_SHARE of the customers of both segments; customers of other segments in it count too. A tube is convex, so for
    any log-concave density (normal, uniform) the projection has a single mode (Prékopa 1973), however K-Means divides it.

    The two ends of a bent cloud have a gap between them and are still connected. So a gap counts if no chain of
    segments leads around it: the separation is the largest edge of the minimum spanning tree of the segments, the last merger
    of single linkage.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
    centroids : ndarray of shape (n_clusters, n_features)
    labels : ndarray of shape (n_customers,)

    Returns
    -------
    float
        The scaled dip, dip * sqrt(number of customers in the tube): about 0.3 without a gap. A tube with fewer than
        MIN_TUBE_CUSTOMERS customers counts as one without a gap.

    References
    ----------
    Hartigan and Hartigan (1985), The dip test of unimodality.
    Prékopa (1973), On logarithmic concave measures and functions.
    """
    squared_norms = np.einsum("ij,ij->i", features, features)
    scores = features @ centroids.T
    members = [labels == label for label in range(len(centroids))]
    dips = []
    for i, j in combinations(range(len(centroids)), 2):
        dips.append(0.0)
        length = np.linalg.norm(centroids[i] - centroids[j])
        own = members[i] | members[j]
        if length == 0 or not own.any():
            continue
        position = (scores[:, i] - scores[:, j]) / length
        # The squared distance from the line, by way of the one from centroid j.
        from_centroid = squared_norms - 2 * scores[:, j] + centroids[j] @ centroids[j]
        along = position - (centroids[i] - centroids[j]) @ centroids[j] / length
        from_line = from_centroid - along**2
        tube = position[from_line <= np.quantile(from_line[own], TUBE_SHARE) + ROUNDING]
        if len(tube) >= MIN_TUBE_CUSTOMERS:
            dips[-1] = float(dipstat(np.sort(tube), sort_x=False) * np.sqrt(len(tube)))
    return float(linkage(dips, method="single")[-1, 2])


def _draw_and_measure(null: NullModel, n_clusters: int, seed: int, number: int) -> _Statistics:
    return _measure(draw_customers(null, np.random.default_rng([seed, number])), null, n_clusters, seed)


def _measure(features: Floats, null: NullModel, n_clusters: int, seed: int) -> _Statistics:
    with one_thread():
        model = KMeans(n_clusters, n_init=STRUCTURE_INITIALISATIONS, max_iter=100, random_state=seed).fit(features)
        nearest = np.partition(model.transform(features), 1, axis=1)
    confidence = 1 - np.divide(nearest[:, 0], nearest[:, 1], out=np.ones(len(features)), where=nearest[:, 1] > 0)
    is_end_atom = find_end_atoms(features, null)
    rows = np.flatnonzero(~is_end_atom.any(axis=1))
    if len(rows) < MIN_PROJECTED_SHARE * len(features):
        rows = np.arange(len(features))
    separation = measure_separation(features[rows], model.cluster_centers_, model.labels_[rows])
    feature_dips = tuple(_find_dip(features[~is_end_atom[:, j], j]) for j in range(features.shape[1]))
    return _Statistics(separation, float(confidence.mean()), feature_dips)


def _compare(observed: float, draws: Sequence[float], find_effect: Callable[[float, float], float]) -> NullComparison:
    mean = float(np.mean(draws))
    return NullComparison(
        observed=observed,
        null_draws=tuple(draws),
        null_mean=mean,
        null_sd=float(np.std(draws, ddof=1)),
        p_value=(1 + sum(draw >= observed for draw in draws)) / (1 + len(draws)),
        effect=find_effect(observed, mean),
    )


def _is_separate(separation: NullComparison) -> bool:
    return separation.observed >= max(
        MIN_SEPARATION, MIN_RATIO * separation.null_mean, separation.null_mean + MIN_DEVIATIONS * separation.null_sd
    )


def _has_groups(feature: FeatureDip, n_customers: int) -> bool:
    return feature.dip >= max(MIN_FEATURE_DIP, MIN_SCALED_FEATURE_DIP / sqrt(n_customers), MIN_RATIO * feature.null_mean)


def _find_dip(values: Floats) -> float:
    return float(dipstat(np.sort(values), sort_x=False)) if len(values) >= MIN_TUBE_CUSTOMERS else 0.0


def _ratio(observed: float, mean: float) -> float:
    return observed / mean if mean > 0 else 0.0  # without a tube in any draw there is nothing to compare
