"""Evaluate: label the new customers, score every k of the sweep, choose one."""

import logging
from functools import partial

from sklearn.cluster import KMeans

from services.contract import artifacts
from services.contract.preparation import Preparation
from services.contract.results import CERTAINTY, Evaluation, LabelledCustomer
from services.contract.settings import EvaluateSettings
from services.evaluate.candidates import (
    SCREENING_RESAMPLES,
    SILHOUETTE_CUSTOMERS,
    STABILITY_CUSTOMERS,
    assess,
    score_candidates,
)
from services.evaluate.checks import Thresholds, check
from services.evaluate.choice import choose_cluster_count, require_fitted_k
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers
from services.evaluate.sample import draw_sample
from services.evaluate.summary import log_candidate, log_choice, log_elbow, log_new_customers
from stagekit.errors import DataError, MissingInputError
from stagekit.volume.workspace import Workspace
from stagekit.workers.progress import progress
from stagekit.workers.worker_pool import worker_pool

log = logging.getLogger(__name__)


def main(settings: EvaluateSettings, work: Workspace) -> int | None:
    metrics = work.load(artifacts.METRICS)
    require_fitted_k(settings.n_clusters, metrics["k_values"])
    elbow = find_elbow(metrics["k_values"], metrics["sse"])
    log_elbow(elbow, metrics["k_values"])

    parts = work.parts(artifacts.FEATURES)
    preparation = parts[0].load()["preparation"]
    model = work.load(artifacts.MODEL)
    new_customers, problem = _label_new_customers(settings, work, preparation, model)

    models, seed = work.load(artifacts.SWEEP), model.random_state
    thresholds = Thresholds(settings.min_silhouette, settings.min_stability)
    candidates = []
    with worker_pool(settings.dask_scheduler, work.output_location(artifacts.EVALUATION).folder) as pool:
        features = pool.persist(artifacts.load_scaled, parts)
        sample = draw_sample(features, STABILITY_CUSTOMERS, seed=seed)
        n_screening = min(SCREENING_RESAMPLES, settings.n_resamples)
        scored = score_candidates(features, sample, models, n_resamples=n_screening, seed=seed)
        for candidate in progress(scored, "evaluate", len(models), unit="k"):
            candidates.append(check(candidate, thresholds, margin=CERTAINTY))
            log_candidate(candidates[-1])
    assess_in_full = partial(assess, sample=sample, models=models, thresholds=thresholds, n_resamples=settings.n_resamples)
    choice = choose_cluster_count(candidates, elbow, settings.n_clusters, assess_in_full)
    log_choice(choice)

    evaluation = Evaluation(
        elbow=elbow,
        chosen_k=choice.k,
        rule=choice.rule,
        reason=choice.reason,
        customers=sample.n_customers,
        silhouette_customers=min(sample.n_customers, SILHOUETTE_CUSTOMERS),
        stability_customers=len(sample.features),
        resamples=settings.n_resamples,
        candidates=choice.candidates,
        lab_k=model.n_clusters,
        new_customers=tuple(new_customers),
        new_customers_problem=problem,
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return new_customers[0].label if new_customers else None


def _label_new_customers(
    settings: EvaluateSettings, work: Workspace, preparation: Preparation, model: KMeans
) -> tuple[list[LabelledCustomer], str]:
    """Label the customers of the test file; without a usable file, return the reason instead."""
    try:
        new_customers = read_new_customers(work.user_files.open(settings.test_file), preparation, settings.table_format)
    except (MissingInputError, DataError) as error:
        if settings.is_test_file_required:
            raise
        log.warning("no new customers are labelled: %s", error)
        return [], str(error)
    customers = label_customers(new_customers, preparation, model)
    log_new_customers(customers, model.n_clusters)
    return customers, ""
