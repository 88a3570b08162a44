"""Tell whether the customers form separate groups, or K-Means divides one group into segments.

K-Means divides any data. Whether there are gaps between its segments is judged by comparison with a null model that has the
margins and correlations of the data and no clusters (`null_model.py`). docs/decisions/0012-cluster-structure.md has the
alternatives that were tried, docs/trust.md what this finds in populations with a known answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import sub
from typing import Literal, NamedTuple

import numpy as np
import sklearn
from diptest import dipstat
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from services.contract.results import NullComparison, Structure
from services.evaluate.null_model import draw_customers, fit_null_model, spread_ties

STRUCTURE_CUSTOMERS = 10_000  # looked at; the scaled dip of a gap grows with their square root
N_DRAWS = 49  # tables drawn from the null model: the smallest p-value is 0.02
STARTS = 3  # of K-Means, for the data and for each draw alike
TUBE_SHARE = 0.5  # of the customers of two segments that lie in the tube between their centroids
FEWEST = 20  # customers in a tube

MAX_P_VALUE = 0.05
MIN_SEPARATION = 1.5  # effect size from which a gap counts: observed separation / mean separation of the null model
STABLE = 0.75  # bootstrap Jaccard similarity from which Hennig (2007) calls a cluster stable

Floats = NDArray[np.float64]


class _Statistics(NamedTuple):
    separation: float
    silhouette: float


def assess_structure(features: Floats, n_clusters: int, *, seed: int) -> Structure:
    """Compare the segments of the data with those of tables drawn from a null model without clusters.

    The data and each drawn table are clustered with K-Means. Two statistics are compared. The *separation* decides: the largest
    scaled dip (`measure_separation`). Separate groups have a p-value of at most MAX_P_VALUE and a separation of at least
    MIN_SEPARATION times the mean of the null model. The *simplified silhouette* (Hruschka et al. 2004), the mean over the
    customers of 1 - distance to the nearest centroid / distance to the next one, describes how compact the segments are; it
    also differs from the null model where dependence between features is not that of a Gaussian copula, and does not decide.

    Parameters
    ----------
    features : array of shape (n_customers, n_features), standardised. Of more than STRUCTURE_CUSTOMERS, as many are drawn.
    n_clusters : int
        From 2 to n_customers - 1.
    seed : int
        Decides which customers are looked at, and the draws.
    """
    generator = np.random.default_rng(seed)
    if len(features) > STRUCTURE_CUSTOMERS:
        features = features[generator.choice(len(features), STRUCTURE_CUSTOMERS, replace=False)]
    features = spread_ties(features, generator)
    null = fit_null_model(features)
    with _many_small_fits():
        observed = _measure(features, n_clusters, seed)
        draws = [_measure(draw_customers(null, generator), n_clusters, seed) for _ in range(N_DRAWS)]
    separation = _compare(observed.separation, [draw.separation for draw in draws], _ratio)
    return Structure(
        k=n_clusters,
        n_customers=len(features),
        separation=separation,
        silhouette=_compare(observed.silhouette, [draw.silhouette for draw in draws], sub),
        is_structured=separation.p_value <= MAX_P_VALUE and separation.effect >= MIN_SEPARATION,
    )


def classify(is_structured: bool, jaccard: Sequence[float | None]) -> Literal["natural", "reproducible", "constructive"]:
    """Classify a segmentation after Dolnicar, Grün and Leisch (2018), Market Segmentation Analysis.

    Parameters
    ----------
    is_structured : whether the data has separate groups
    jaccard : mean bootstrap Jaccard similarity of each segment, None for one that is too small to assess

    Returns
    -------
    "natural" : separate groups.
    "reproducible" : no separate groups, but each segment is stable (0.75 or more, Hennig 2007).
    "constructive" : neither. A segment that could not be assessed does not count as stable.
    """
    if is_structured:
        return "natural"
    return "reproducible" if all(value is not None and value >= STABLE for value in jaccard) else "constructive"


def measure_separation(features: Floats, centroids: Floats, labels: NDArray[np.int32]) -> float:
    """Find the deepest gap between two segments: the largest scaled dip on the lines through two centroids.

    For each pair of segments, the customers in a tube around the line through both centroids are projected on that line, and
    Hartigan's dip (1985) measures how far their distribution is from the nearest one with a single mode. The tube is as wide as
    holds TUBE_SHARE of the customers of both segments; customers of other segments in it count too. A tube is convex, so for
    any log-concave density (normal, uniform) the projection has a single mode (Prékopa 1973), however K-Means divides it.

    Parameters
    ----------
    features : array of shape (n_customers, n_features)
    centroids : array of shape (n_clusters, n_features)
    labels : array of shape (n_customers,)

    Returns
    -------
    The largest dip * sqrt(customers in the tube); about 0.3 to 0.4 where there is no gap; 0 if no tube has FEWEST customers.
    """
    separation = 0.0
    squared_norms = np.einsum("ij,ij->i", features, features)
    scores = features @ centroids.T
    members = [labels == label for label in range(len(centroids))]
    for i in range(len(centroids)):
        for j in range(i):
            length = np.linalg.norm(centroids[i] - centroids[j])
            own = members[i] | members[j]
            if length == 0 or not own.any():
                continue
            position = (scores[:, i] - scores[:, j]) / length
            # The squared distance from the line, by way of the one from centroid j.
            from_centroid = squared_norms - 2 * scores[:, j] + centroids[j] @ centroids[j]
            along = position - (centroids[i] - centroids[j]) @ centroids[j] / length
            from_line = from_centroid - along**2
            tube = position[from_line <= np.quantile(from_line[own], TUBE_SHARE)]
            if len(tube) >= FEWEST:
                separation = max(separation, float(dipstat(np.sort(tube), sort_x=False) * np.sqrt(len(tube))))
    return separation


def _measure(features: Floats, n_clusters: int, seed: int) -> _Statistics:
    model = KMeans(n_clusters, n_init=STARTS, max_iter=100, random_state=seed).fit(features)
    nearest = np.partition(model.transform(features), 1, axis=1)
    confidence = 1 - np.divide(nearest[:, 0], nearest[:, 1], out=np.ones(len(features)), where=nearest[:, 1] > 0)
    return _Statistics(measure_separation(features, model.cluster_centers_, model.labels_), float(confidence.mean()))


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


def _ratio(observed: float, mean: float) -> float:
    return observed / mean if mean > 0 else 0.0  # without a tube in any draw there is nothing to compare


@contextmanager
def _many_small_fits() -> Iterator[None]:
    """Fit without what only pays for large data: threads, which would wait for each other, and checks of every argument."""
    unchecked = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with threadpool_limits(limits=1), unchecked, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a table may have fewer distinct customers than clusters
        yield
