"""Evaluate: label the new customers, judge every k of the sweep, choose one."""

import logging

import numpy as np

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError
from services.contract.results import Candidate, Evaluation
from services.contract.settings import EvaluateSettings
from services.evaluate.candidates import SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS, assess
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers

log = logging.getLogger(__name__)


def main(settings: EvaluateSettings, work: Workspace) -> int:
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
    to_label = read_new_customers(work.data_file(settings.test_file), preparation, settings.table_format)
    new_customers = label_customers(to_label, preparation, model)
    label = new_customers[0].label
    if label is None:
        raise DataError(f"{settings.test_file}: there is no label for the first customer, {new_customers[0].reason}")
    for row, customer in enumerate(new_customers, start=1):
        name = customer.customer or f"new customer {row}"
        if customer.reason:
            log.warning("%s has no label: %s", name, customer.reason)
        if customer.outside_training_range:
            log.warning("%s is outside the training range: %s", name, ", ".join(customer.outside_training_range))
    log.info("labelled %d new customers with the model of k=%d, the first one %d", len(new_customers), model.n_clusters, label)

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
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return label


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
