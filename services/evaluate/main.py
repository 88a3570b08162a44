"""Evaluate: label the new customers, assess every k of the sweep, choose one."""

from functools import partial

import numpy as np

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError
from services.contract.results import Evaluation
from services.contract.settings import EvaluateSettings
from services.evaluate.assessment import assess
from services.evaluate.candidates import SILHOUETTE_CUSTOMERS, score_candidates
from services.evaluate.checks import Thresholds, screen
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers
from services.evaluate.summary import log_candidate, log_choice, log_elbow, log_new_customers


def main(settings: EvaluateSettings, work: Workspace) -> int:
    metrics = work.load(artifacts.METRICS)
    refuse_unfitted(settings.n_clusters, metrics["k_values"])
    elbow = find_elbow(metrics["k_values"], metrics["sse"])
    log_elbow(elbow, metrics["k_values"])

    parts = list(work.load_parts(artifacts.FEATURES))
    preparation = parts[0]["preparation"]
    model = work.load(artifacts.MODEL)
    new_customers = label_customers(read_new_customers(work.data_file(settings.test_file), preparation), preparation, model)
    label = new_customers[0].label
    if label is None:
        raise DataError(f"{settings.test_file}: there is no label for the first customer, {new_customers[0].reason}")
    log_new_customers(new_customers, model.n_clusters)

    scaled = np.concatenate([part["scaled"] for part in parts])
    models = work.load(artifacts.SWEEP)
    thresholds = Thresholds(settings.min_silhouette, settings.min_stability)
    candidates = []
    for candidate in score_candidates(scaled, models, seed=model.random_state):
        candidates.append(screen(candidate, thresholds))
        log_candidate(candidates[-1])
    assess_in_full = partial(assess, features=scaled, models=models, thresholds=thresholds, n_resamples=settings.n_resamples)
    choice = choose_cluster_count(candidates, elbow, settings.n_clusters, assess_in_full)
    log_choice(choice)

    evaluation = Evaluation(
        elbow=elbow,
        chosen_k=choice.k,
        rule=choice.rule,
        reason=choice.reason,
        customers=len(scaled),
        silhouette_customers=min(len(scaled), SILHOUETTE_CUSTOMERS),
        resamples=settings.n_resamples,
        candidates=choice.candidates,
        lab_k=model.n_clusters,
        new_customers=tuple(new_customers),
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return label
