"""Evaluate: label the new customers, assess every k of the sweep, choose one."""

from functools import partial

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.errors import DataError
from services.contract.results import Evaluation
from services.contract.settings import EvaluateSettings
from services.contract.workers import workers
from services.evaluate.assessment import assess
from services.evaluate.candidates import SCREENING_RESAMPLES, SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS, score_candidates
from services.evaluate.checks import Thresholds, screen
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers
from services.evaluate.parts import draw_sample, load_scaled
from services.evaluate.summary import log_candidate, log_choice, log_elbow, log_new_customers


def main(settings: EvaluateSettings, work: Workspace) -> int:
    metrics = work.load(artifacts.METRICS)
    refuse_unfitted(settings.n_clusters, metrics["k_values"])
    elbow = find_elbow(metrics["k_values"], metrics["sse"])
    log_elbow(elbow, metrics["k_values"])

    parts = work.parts(artifacts.FEATURES)
    preparation = parts[0].load()["preparation"]
    model = work.load(artifacts.MODEL)
    new_customers = label_customers(read_new_customers(work.data_file(settings.test_file), preparation), preparation, model)
    label = new_customers[0].label
    if label is None:
        raise DataError(f"{settings.test_file}: there is no label for the first customer, {new_customers[0].reason}")
    log_new_customers(new_customers, model.n_clusters)

    models = work.load(artifacts.SWEEP)
    thresholds = Thresholds(settings.min_silhouette, settings.min_stability)
    candidates = []
    with workers(settings.dask_scheduler, work.target(artifacts.EVALUATION)[0]) as pool:
        held = pool.hold(load_scaled, parts)
        sample = draw_sample(held, STABILITY_CUSTOMERS, seed=model.random_state)
        n_screening = min(SCREENING_RESAMPLES, settings.n_resamples)
        for candidate in score_candidates(held, sample, models, n_resamples=n_screening, seed=model.random_state):
            candidates.append(screen(candidate, thresholds))
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
    )
    work.save(artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return label
