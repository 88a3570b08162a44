"""Judge every number of clusters that was fitted: how tight, how far apart, how even, how stable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, pairwise_distances, silhouette_score

from services.contract.errors import DataError
from services.contract.results import Candidate
from services.evaluate.stability import bootstrap

SILHOUETTE_CUSTOMERS = 1_000  # time and memory grow with its square; it gives the mean to about 0.01
STABILITY_CUSTOMERS = 10_000  # fewer customers only make clusters look less stable than they are


def assess(features: NDArray[np.float64], models: Mapping[int, KMeans], *, resamples: int, seed: int) -> Iterator[Candidate]:
    """Judge each fitted model, yielding each verdict as it is ready.

    Davies-Bouldin, Calinski-Harabasz and the shares look at all customers. The silhouette looks at a sample where there are
    more than SILHOUETTE_CUSTOMERS, the stability where there are more than STABILITY_CUSTOMERS: the same ones for every model.

    Parameters
    ----------
    features : array of shape (n_customers, n_features), standardised; what the models were fitted to
    models : fitted K-Means by its number of clusters

    Raises DataError where there are no more customers than clusters.
    """
    n_customers = len(features)
    if max(models) >= n_customers:
        raise DataError(f"k = {max(models)} for {n_customers} customers leaves nothing to compare: leave it out of k_values")
    generator = np.random.default_rng(seed)
    for_silhouette = draw(n_customers, SILHOUETTE_CUSTOMERS, generator)
    for_stability = draw(n_customers, STABILITY_CUSTOMERS, generator)
    distances = pairwise_distances(features[for_silhouette])
    points = features[for_stability]
    for k, model in models.items():
        labels = model.predict(features)  # a model that was found from a sample brings none
        stability = bootstrap(points, labels[for_stability], k, resamples=resamples, seed=seed)
        yield Candidate(
            k=k,
            sse=float(model.inertia_),
            silhouette=_silhouette(distances, labels[for_silhouette]),
            davies_bouldin=float(davies_bouldin_score(features, labels)),
            calinski_harabasz=float(calinski_harabasz_score(features, labels)),
            smallest_share=float(np.bincount(labels, minlength=k).min() / n_customers),
            jaccard=stability.jaccard,
            ari=stability.ari,
        )


def draw(n_customers: int, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw `most` customers without replacement, or take all where there are no more."""
    return generator.choice(n_customers, most, replace=False) if n_customers > most else np.arange(n_customers)


def _silhouette(distances: NDArray[np.float64], labels: NDArray[np.int32]) -> float:
    """Average the silhouettes; 0, as for a customer on the border, where all are of one cluster or each is of its own."""
    if not 1 < len(np.unique(labels)) < len(labels):
        return 0.0
    return float(silhouette_score(distances, labels, metric="precomputed"))
