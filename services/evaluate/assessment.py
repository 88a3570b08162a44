"""Assess one k in full: its stability, the cluster structure of the data, and the checks that depend on them."""

from __future__ import annotations

from collections.abc import Mapping

from sklearn.cluster import KMeans

from services.contract.results import Candidate
from services.evaluate.candidates import assess_stability
from services.evaluate.checks import Thresholds, check
from services.evaluate.sample import Sample
from services.evaluate.structure import assess_structure, classify


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
