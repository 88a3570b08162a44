"""Log the results of evaluate."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from services.contract.results import Candidate, LabelledCustomer
from services.evaluate.choice import Choice

log = logging.getLogger(__name__)


def log_elbow(elbow: int | None, k_values: Sequence[int]) -> None:
    """Log the elbow, or that the SSE curve has none."""
    if elbow is None:
        log.info("no elbow: the SSE curve over k=%s has none", k_values)
    else:
        log.info("elbow at k=%d", elbow)


def log_new_customers(new_customers: Sequence[LabelledCustomer], n_clusters: int) -> None:
    """Log the number of labelled customers, and warn of those without a label or outside the training range."""
    for row, customer in enumerate(new_customers, start=1):
        name = customer.customer or f"new customer {row}"
        if customer.reason:
            log.warning("%s has no label: %s", name, customer.reason)
        if customer.outside_training_range:
            log.warning("%s is outside the training range: %s", name, ", ".join(customer.outside_training_range))
    n_labelled = sum(customer.label is not None for customer in new_customers)
    log.info(
        "labelled %d new customers with the model of k=%d, the first one %s", n_labelled, n_clusters, new_customers[0].label
    )


def log_candidate(candidate: Candidate) -> None:
    """Log the scores of one k in one line."""
    log.info(
        "k=%d silhouette %.3f, Davies-Bouldin %.3f, Calinski-Harabasz %.0f, smallest %.1f%%, least Jaccard %.2f, ARI %.2f "
        "(%s resamples)%s%s",
        candidate.k,
        candidate.silhouette,
        candidate.davies_bouldin,
        candidate.calinski_harabasz,
        100 * candidate.smallest_share,
        math.nan if candidate.weakest is None else candidate.weakest,
        candidate.ari,
        candidate.n_resamples,
        f", {candidate.classification}" if candidate.classification else "",
        f"; fails: {'; '.join(candidate.failed_checks)}" if candidate.failed_checks else "",
    )


def log_choice(choice: Choice) -> None:
    """Log the candidates that were assessed in full, then the choice and its reason."""
    for candidate in choice.candidates:
        if candidate.structure is not None:
            log_candidate(candidate)
            gap = candidate.structure.separation
            log.info(
                "k=%d deepest gap %.2f, without clusters %.2f ± %.2f (%d draws), p=%.2f: %s",
                candidate.k,
                gap.observed,
                gap.null_mean,
                gap.null_sd,
                len(gap.null_draws),
                gap.p_value,
                candidate.classification,
            )
    log.info("%s", choice.reason)
