"""Score every number of clusters that was fitted, and assess in full those that may be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, silhouette_score

from services.contract.results import Candidate
from services.evaluate.checks import Thresholds, check
from services.evaluate.indices import calinski_harabasz, davies_bouldin, measure_spread
from services.evaluate.sample import Sample
from services.evaluate.stability import MAX_DRAWN, bootstrap_stability
from services.evaluate.structure import assess_structure, classify
from stagekit.errors import DataError
from stagekit.workers.worker_pool import PersistedParts

SILHOUETTE_CUSTOMERS = 1_000  # time and memory grow with its square; the mean is accurate to about 0.01
STABILITY_CUSTOMERS = 1_000_000  # far more than a resample has, so that estimates hardly depend on which were sampled
MIN_MEMBERS = 50  # drawn per resample on average; the stability of a smaller cluster would be that of the resample
SCREENING_RESAMPLES = 10  # for every k; the standard error of a segment is then at most about 0.1


def score_candidates(
    features: PersistedParts, sample: Sample, models: Mapping[int, KMeans], *, n_resamples: int = SCREENING_RESAMPLES, seed: int
) -> Iterator[Candidate]:
    """Score each fitted model, with a screening estimate of its stability.

    Davies-Bouldin, Calinski-Harabasz and the smallest share are those of all customers, the stability that of the sample, the
    silhouette that of SILHOUETTE_CUSTOMERS of them, the same ones for every model.

    Parameters
    ----------
    features : PersistedParts
        Parts of the standardised features, each an array of shape (n_part, n_features).
    sample : Sample
        Drawn from these parts.
    models : mapping of int to KMeans
        Fitted models by their number of clusters.
    n_resamples : int
        For the screening estimate.
    seed : int
        Determines the customers of the silhouette and the resamples.

    Yields
    ------
    Candidate
        In the order of the models.

    Raises
    ------
    DataError
        If there are no more customers than clusters.
    """
    if max(models) >= sample.n_customers:
        raise DataError(
            f"k = {max(models)} for {sample.n_customers} customers leaves nothing to compare: leave it out of k_values"
        )
    spreads = measure_spread(features, models)
    points = sample.features
    if len(points) > SILHOUETTE_CUSTOMERS:
        points = points[np.random.default_rng(seed).choice(len(points), SILHOUETTE_CUSTOMERS, replace=False)]
    distances = pairwise_distances(points)
    for k, model in models.items():
        spread = spreads[k]
        candidate = Candidate(
            k=k,
            sse=float(model.inertia_),
            silhouette=_silhouette(distances, model.predict(points)),
            davies_bouldin=davies_bouldin(spread),
            calinski_harabasz=calinski_harabasz(spread),
            smallest_share=float(spread.sizes.min() / sample.n_customers),
            jaccard=(),
            ari=0.0,
        )
        yield assess_stability(candidate, sample, model, n_resamples=n_resamples, seed=seed)


def assess_stability(candidate: Candidate, sample: Sample, model: KMeans, *, n_resamples: int, seed: int) -> Candidate:
    """Return the candidate with an estimate of the stability of its clusters.

    A cluster gets None if fewer than MIN_MEMBERS of its customers are drawn per resample on average, unless as many customers
    are drawn as the table has.

    Parameters
    ----------
    candidate : Candidate
    sample : Sample
        Standardised features of customers drawn from all.
    model : KMeans
        Fitted with the k of the candidate.
    n_resamples : int
        Number of bootstrap resamples, at least 2.
    seed : int

    Returns
    -------
    Candidate
        A copy with `jaccard`, `jaccard_se`, `ari`, `ari_se` and `n_resamples`.
    """
    labels = model.predict(sample.features)
    stability = bootstrap_stability(sample.features, labels, candidate.k, n_resamples=n_resamples, seed=seed)
    n_sampled = len(labels)
    members_drawn = np.bincount(labels, minlength=candidate.k) * min(1.0, MAX_DRAWN / n_sampled)
    can_assess = (members_drawn >= MIN_MEMBERS) | (sample.n_customers <= MAX_DRAWN)
    return candidate.model_copy(
        update={
            "jaccard": tuple(value if can else None for value, can in zip(stability.jaccard, can_assess, strict=True)),
            "jaccard_se": tuple(error if can else None for error, can in zip(stability.jaccard_se, can_assess, strict=True)),
            "ari": stability.ari,
            "ari_se": stability.ari_se,
            "n_resamples": n_resamples,
        }
    )


def assess(
    candidate: Candidate,
    in_full: bool,
    *,
    sample: Sample,
    models: Mapping[int, KMeans],
    thresholds: Thresholds,
    n_resamples: int,
) -> Candidate:
    """Return the candidate with full estimates and the checks that it fails.

    Parameters
    ----------
    candidate : Candidate
    in_full : bool
        Whether to test the structure even if another check has failed.
    sample : Sample
        Standardised features of customers drawn from all.
    models : mapping of int to KMeans
        Fitted models by their number of clusters; their seed is also that of the estimates.
    thresholds : Thresholds
    n_resamples : int
        For the full estimate of the stability.
    """
    model = models[candidate.k]
    stable = assess_stability(candidate, sample, model, n_resamples=n_resamples, seed=model.random_state)
    candidate = check(stable, thresholds)
    if candidate.failed_checks and not in_full:
        return candidate
    structure = assess_structure(sample.features, candidate.k, seed=model.random_state)
    classification = classify(structure.is_structured, candidate.jaccard)
    return check(candidate.model_copy(update={"structure": structure, "classification": classification}), thresholds)


def _silhouette(distances: NDArray[np.float64], labels: NDArray[np.int32]) -> float:
    """Average the silhouettes; 0, as for a customer on the border, if all are in one cluster or each is in its own."""
    if not 1 < len(np.unique(labels)) < len(labels):
        return 0.0
    return float(silhouette_score(distances, labels, metric="precomputed"))
