"""Train: fit K-Means for every k, keep all models, publish the last one."""

import logging
from typing import Any

import numpy as np

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.settings import TrainSettings
from services.train.sweep import sweep

log = logging.getLogger(__name__)


def main(settings: TrainSettings, work: Workspace) -> dict[str, Any]:
    features = np.concatenate([part["scaled"] for part in work.load_parts(artifacts.FEATURES)])
    log.info("fitting %d customers, %d features", *features.shape)

    fits = []
    for fit in sweep(
        features,
        settings.k_values,
        n_init=settings.n_init,
        max_iter=settings.max_iter,
        random_state=settings.random_state,
    ):
        log.info("k=%d SSE=%.6f iterations=%d %.2fs", fit.k, fit.sse, fit.model.n_iter_, fit.seconds)
        fits.append(fit)

    metrics = {"k_values": [fit.k for fit in fits], "sse": [fit.sse for fit in fits]}
    work.save(artifacts.SWEEP, {fit.k: fit.model for fit in fits})
    work.save(artifacts.MODEL, fits[-1].model)
    work.save(artifacts.METRICS, metrics)
    work.publish(artifacts.MODEL)
    return metrics
