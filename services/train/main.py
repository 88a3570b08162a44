"""Train: fit K-Means for every k, keep all models, publish the last one."""

import logging
from typing import Any

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.settings import TrainSettings
from services.train.sweep import choose_strategy, sweep

log = logging.getLogger(__name__)
LONG_S = 5.0  # who waits longer is told for how long


def main(settings: TrainSettings, work: Workspace) -> dict[str, Any]:
    parts = [part["scaled"] for part in work.load_parts(artifacts.FEATURES)]
    n_customers = sum(map(len, parts))
    strategy, reason = choose_strategy(settings.strategy, n_customers)
    work.decisions["strategy"] = f"{strategy}: {reason}"
    log.info("fitting %d customers, %d features; strategy %s: %s", n_customers, parts[0].shape[1], strategy, reason)

    fits = []
    for fit in sweep(
        parts,
        settings.k_values,
        strategy=strategy,
        n_init=settings.n_init,
        max_iter=settings.max_iter,
        random_state=settings.random_state,
    ):
        fits.append(fit)
        left = f", about {fit.seconds_left:.0f}s left" if fit.seconds_left > LONG_S else ""
        log.info("k=%d SSE=%.6f iterations=%d after %.2fs%s", fit.k, fit.sse, fit.model.n_iter_, fit.seconds, left)

    metrics = {"k_values": [fit.k for fit in fits], "sse": [fit.sse for fit in fits]}
    work.save(artifacts.SWEEP, {fit.k: fit.model for fit in fits})
    work.save(artifacts.MODEL, fits[-1].model)
    work.save(artifacts.METRICS, metrics)
    work.publish(artifacts.MODEL)
    return metrics
