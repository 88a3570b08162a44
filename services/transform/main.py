"""Transform: fit the preparation, apply it to all customers whom it fits, list the others."""

import logging
from typing import Any

from services.contract import artifacts
from services.contract.artifacts import Workspace
from services.contract.settings import TransformSettings
from services.transform.features import count_reasons, fit_preparation, list_dropped

log = logging.getLogger(__name__)


def main(settings: TransformSettings, work: Workspace) -> dict[str, Any]:
    customers = work.load(artifacts.CUSTOMERS)
    preparation = fit_preparation(
        customers,
        settings.feature_columns,
        log_columns=settings.log_columns,
        outliers=settings.outliers,
        outlier_fence=settings.outlier_fence,
        scale_by=settings.scale_by or None,
        smallest_group=settings.smallest_group,
    )
    for name, (low, high) in preparation.fences.items():
        log.info("outliers of %s, below %g or above %g: %s", name, low, high, settings.outliers)
    for name in settings.log_columns:
        log.info("%s is replaced by its logarithm", name)
    if settings.scale_by:
        groups = ", ".join(str(group) for group in preparation.group_pipelines) or "none"
        log.info("groups of %s standardised each by itself: %s; all others together", settings.scale_by, groups)
    fits = preparation.fits(customers)
    scaled = preparation.transform(customers.loc[fits, list(preparation.columns)])
    for name, (smallest, largest) in preparation.training_range.items():
        log.info("%s from %g to %g", name, smallest, largest)

    dropped = list_dropped(customers, preparation)
    reasons = count_reasons(dropped)
    log.info("kept %d customers, dropped %d", len(scaled), len(dropped))
    for reason, count in reasons.items():
        log.info("dropped %d: %s", count, reason)

    work.save(
        artifacts.FEATURES,
        {
            "scaled": scaled,
            "feature_columns": list(settings.feature_columns),
            "preparation": preparation,
        },
    )
    work.save(artifacts.DROPPED, dropped.to_csv(index=False, lineterminator="\n"))
    return {"customers": len(scaled), "dropped": len(dropped), "reasons": reasons}
