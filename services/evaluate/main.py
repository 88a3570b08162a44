"""Evaluate: label the new customers, judge every k of the sweep, choose one."""

import logging
import math

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError
from services.contract.results import Candidate, Evaluation
from services.contract.settings import EvaluateSettings
from services.contract.workers import workers
from services.evaluate.candidates import (
    SCREENING_RESAMPLES,
    SILHOUETTE_CUSTOMERS,
    STABILITY_CUSTOMERS,
    assess_stability,
    score_candidates,
)
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers
from services.evaluate.parts import draw_sample, load_scaled

log = logging.getLogger(__name__)


def main(settings: EvaluateSettings, work: Workspace) -> int:
    metrics = work.load(artifacts.METRICS)
    refuse_unfitted(settings.n_clusters, metrics["k_values"])
    elbow = find_elbow(metrics["k_values"], metrics["sse"])
    if elbow is None:
        log.info("no elbow: the SSE curve over k=%s has none", metrics["k_values"])
    else:
        log.info("elbow at k=%d", elbow)

    parts = work.parts(artifacts.FEATURES)
    preparation = parts[0].load()["preparation"]
    model = work.load(artifacts.MODEL)
    new_customers = label_customers(read_new_customers(work.data_file(settings.test_file), preparation), preparation, model)
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

    models, seed = work.load(artifacts.SWEEP), model.random_state
    candidates = []
    with workers(settings.dask_scheduler, work.target(artifacts.EVALUATION)[0]) as pool:
        held = pool.hold(load_scaled, parts)
        sample = draw_sample(held, STABILITY_CUSTOMERS, seed=seed)
        n_screening = min(SCREENING_RESAMPLES, settings.n_resamples)
        for candidate in score_candidates(held, sample, models, n_resamples=n_screening, seed=seed):
            _log(candidate)
            candidates.append(candidate)
    choice = choose_cluster_count(candidates, elbow, settings.n_clusters)
    log.info("%s", choice.reason)
    candidates = [
        assess_stability(candidate, sample, models[candidate.k], n_resamples=settings.n_resamples, seed=seed)
        if candidate.k == choice.k
        else candidate
        for candidate in candidates
    ]
    _log(next(candidate for candidate in candidates if candidate.k == choice.k))

    evaluation = Evaluation(
        elbow=elbow,
        chosen_k=choice.k,
        rule=choice.rule,
        reason=choice.reason,
        customers=sample.n_customers,
        silhouette_customers=min(sample.n_customers, SILHOUETTE_CUSTOMERS),
        stability_customers=len(sample.features),
        resamples=settings.n_resamples,
        candidates=tuple(candidates),
        lab_k=model.n_clusters,
        new_customers=tuple(new_customers),
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return label


def _log(candidate: Candidate) -> None:
    log.info(
        "k=%d silhouette %.3f, Davies-Bouldin %.3f, Calinski-Harabasz %.0f, smallest %.1f%%, least Jaccard %.2f, ARI %.2f "
        "(%s resamples)",
        candidate.k,
        candidate.silhouette,
        candidate.davies_bouldin,
        candidate.calinski_harabasz,
        100 * candidate.smallest_share,
        math.nan if candidate.weakest is None else candidate.weakest,
        candidate.ari,
        candidate.n_resamples,
    )
