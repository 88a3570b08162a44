"""Evaluate: label the new customers, judge every k of the sweep, choose one."""

import logging

import numpy as np
from sklearn.cluster import KMeans

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError, MissingInputError
from services.contract.preparation import Preparation
from services.contract.results import Candidate, Evaluation, NewCustomer
from services.contract.settings import EvaluateSettings
from services.evaluate.candidates import SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS, assess
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers

log = logging.getLogger(__name__)


def main(settings: EvaluateSettings, work: Workspace) -> int | None:
    metrics = work.load(artifacts.METRICS)
    refuse_unfitted(settings.n_clusters, metrics["k_values"])
    elbow = find_elbow(metrics["k_values"], metrics["sse"])
    if elbow is None:
        log.info("no elbow: the SSE curve over k=%s has none", metrics["k_values"])
    else:
        log.info("elbow at k=%d", elbow)

    parts = list(work.load_parts(artifacts.FEATURES))
    preparation = parts[0]["preparation"]
    model = work.load(artifacts.MODEL)
    new_customers, problem = _label_new_customers(settings, work, preparation, model)

    scaled = np.concatenate([part["scaled"] for part in parts])
    candidates = []
    for candidate in assess(scaled, work.load(artifacts.SWEEP), resamples=settings.resamples, seed=model.random_state):
        _log(candidate)
        candidates.append(candidate)
    choice = choose_cluster_count(candidates, elbow, settings.n_clusters)
    log.info("%s", choice.reason)

    evaluation = Evaluation(
        elbow=elbow,
        chosen_k=choice.k,
        rule=choice.rule,
        reason=choice.reason,
        customers=len(scaled),
        silhouette_customers=min(len(scaled), SILHOUETTE_CUSTOMERS),
        stability_customers=min(len(scaled), STABILITY_CUSTOMERS),
        resamples=settings.resamples,
        candidates=tuple(candidates),
        lab_k=model.n_clusters,
        new_customers=tuple(new_customers),
        new_customers_problem=problem,
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return new_customers[0].label if new_customers else None


def _label_new_customers(
    settings: EvaluateSettings, work: Workspace, preparation: Preparation, model: KMeans
) -> tuple[list[NewCustomer], str]:
    """Label the customers of the test file; without a usable one, say why there are none."""
    try:
        found = read_new_customers(work.data_file(settings.test_file), preparation)
    except (MissingInputError, DataError) as error:
        if settings.is_test_file_required:
            raise
        log.warning("no new customers are labelled: %s", error)
        return [], str(error)
    customers = label_customers(found, preparation, model)
    for row, customer in enumerate(customers, start=1):
        name = customer.customer or f"new customer {row}"
        if customer.reason:
            log.warning("%s has no label: %s", name, customer.reason)
        if customer.outside_training_range:
            log.warning("%s is outside the training range: %s", name, ", ".join(customer.outside_training_range))
    count = sum(customer.label is not None for customer in customers)
    log.info("labelled %d new customers with the model of k=%d, the first one %s", count, model.n_clusters, customers[0].label)
    return customers, ""


def _log(candidate: Candidate) -> None:
    log.info(
        "k=%d silhouette %.3f, Davies-Bouldin %.3f, Calinski-Harabasz %.0f, smallest %.1f%%, least Jaccard %.2f, ARI %.2f",
        candidate.k,
        candidate.silhouette,
        candidate.davies_bouldin,
        candidate.calinski_harabasz,
        100 * candidate.smallest_share,
        min(candidate.jaccard),
        candidate.ari,
    )
