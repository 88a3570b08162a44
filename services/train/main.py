"""Train: fit K-Means for every k, keep all models."""

import logging
from typing import Any

from services.contract import artifacts
from services.contract.settings import TrainSettings
from services.train.part_tasks import itself, load_scaled, map_persisted_chunks
from services.train.sweep import Fit, choose_strategy, sweep
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import PersistedParts, worker_pool

log = logging.getLogger(__name__)
SHOW_ETA_AFTER_S = 5.0  # who waits longer is told for how long


def main(settings: TrainSettings, work: Workspace) -> dict[str, Any]:
    with worker_pool(settings.dask_scheduler, work.output_location(artifacts.SWEEP).folder) as pool:
        held = pool.persist(load_scaled, work.parts(artifacts.FEATURES))
        fits = _fit(settings, work, held)
    metrics = {"k_values": [fit.k for fit in fits], "sse": [fit.sse for fit in fits]}
    work.save(artifacts.SWEEP, {fit.k: fit.model for fit in fits})
    work.save(artifacts.MODEL, fits[-1].model)
    work.save(artifacts.METRICS, metrics)
    return metrics


def _fit(settings: TrainSettings, work: Workspace, held: PersistedParts) -> list[Fit]:
    n_customers = sum(held.map(len))
    strategy, reason = choose_strategy(settings.strategy, n_customers)
    work.decisions["strategy"] = f"{strategy}: {reason}"
    log.info("fitting %d customers; strategy %s: %s", n_customers, strategy, reason)
    stays = bool(settings.dask_scheduler) and strategy == "sample"
    parts = [] if stays else held.map(itself)

    fits = []
    for fit in sweep(
        parts,
        settings.k_values,
        strategy=strategy,
        n_init=settings.n_init,
        max_iter=settings.max_iter,
        random_state=settings.random_state,
        apply=map_persisted_chunks(held) if stays else None,
    ):
        fits.append(fit)
        left = f", about {fit.seconds_left:.0f}s left" if fit.seconds_left > SHOW_ETA_AFTER_S else ""
        log.info("k=%d SSE=%.6f iterations=%d after %.2fs%s", fit.k, fit.sse, fit.model.n_iter_, fit.seconds, left)
    return fits
