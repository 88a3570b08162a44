"""Train: fit K-Means for every k and save all models."""

import logging
from typing import Any

import numpy as np

from services.contract import artifacts
from services.contract.settings import TrainSettings
from services.train.parallel import Chunks
from services.train.sampled_kmeans import KMeansParameters
from services.train.sweep import Fit, choose_strategy, sweep
from stagekit.volume.workspace import Workspace
from stagekit.workers.progress import progress
from stagekit.workers.worker_pool import PersistedParts, worker_pool

log = logging.getLogger(__name__)
SHOW_ETA_AFTER_S = 5.0  # the log shows an estimate if more than this is left


def main(settings: TrainSettings, work: Workspace) -> dict[str, Any]:
    with worker_pool(settings.dask_scheduler, work.output_location(artifacts.SWEEP).folder) as pool:
        features = pool.persist(artifacts.load_scaled, work.parts(artifacts.FEATURES))
        fits = _fit(settings, work, features)
    metrics = {"k_values": [fit.k for fit in fits], "sse": [fit.sse for fit in fits]}
    work.save(artifacts.SWEEP, {fit.k: fit.model for fit in fits})
    work.save(artifacts.MODEL, fits[-1].model)
    work.save(artifacts.METRICS, metrics)
    return metrics


def _fit(settings: TrainSettings, work: Workspace, features: PersistedParts) -> list[Fit]:
    n_customers = sum(features.map(len))
    strategy, reason = choose_strategy(settings.strategy, n_customers)
    work.decisions["strategy"] = f"{strategy}: {reason}"
    log.info("fitting %d customers; strategy %s: %s", n_customers, strategy, reason)
    keep_on_workers = bool(settings.dask_scheduler) and strategy == "sample"

    fits = []
    models = sweep(
        [] if keep_on_workers else features.map(np.asarray),
        settings.k_values,
        KMeansParameters(settings.n_init, settings.max_iter, settings.random_state),
        strategy=strategy,
        chunks=Chunks(features) if keep_on_workers else None,
    )
    for fit in progress(models, "fit k-means", len(settings.k_values), unit="k"):
        fits.append(fit)
        eta = f", about {fit.seconds_left:.0f}s left" if fit.seconds_left > SHOW_ETA_AFTER_S else ""
        log.info("k=%d SSE=%.6f iterations=%d after %.2fs%s", fit.k, fit.sse, fit.model.n_iter_, fit.seconds, eta)
    return fits
