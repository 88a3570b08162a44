"""Transform: fit the preparation, apply it to all customers whom it fits, list the others."""

import logging
from collections import Counter
from functools import partial
from typing import Any

from services.contract.preparation import Preparation, top_reasons
from services.contract.results import DROPPED_COLUMNS
from services.contract.settings import TransformSettings
from services.transform.features import Apply, fit_preparation_to_parts, offset_row_numbers
from services.transform.part_tasks import load_columns, map_part, prepare_part
from stagekit.volume import workspace as artifacts
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

log = logging.getLogger(__name__)


def main(settings: TransformSettings, work: Workspace) -> dict[str, Any]:
    parts = work.parts(artifacts.CUSTOMERS)
    target = work.target(artifacts.FEATURES)
    with worker_pool(settings.dask_scheduler, target[0]) as pool:
        group_column = settings.group_column or None
        if settings.outliers == "keep":
            # One pass over the parts on the volume, which need not fit into memory together.
            map_parts: Apply = lambda function: list(pool.map(partial(map_part, function), parts))  # noqa: E731
        else:
            # Outlier fences need several passes over the features, so these are read once and kept in memory.
            load = partial(
                load_columns,
                feature_columns=settings.feature_columns,
                group_column=group_column,
                log_columns=settings.log_columns,
            )
            map_parts = pool.persist(load, parts).map
        preparation = fit_preparation_to_parts(
            map_parts,
            settings.feature_columns,
            log_columns=settings.log_columns,
            outliers=settings.outliers,
            outlier_fence=settings.outlier_fence,
            group_column=group_column,
            min_group_size=settings.min_group_size,
        )
        _log(preparation, settings)
        prepare = partial(prepare_part, preparation=preparation, target=target)
        rows, reasons = 0, Counter[str]()
        with work.writing(artifacts.DROPPED) as file:
            file.write((",".join(DROPPED_COLUMNS) + "\n").encode())
            for part in pool.map(prepare, parts):
                file.write(
                    offset_row_numbers(rows, part.dropped).to_csv(index=False, header=False, lineterminator="\n").encode()
                )
                if part.draft:
                    work.add(artifacts.FEATURES, part.draft)
                rows += part.rows
                reasons += part.reasons

    dropped, counts = reasons.total(), top_reasons(reasons)
    log.info("kept %d customers, dropped %d", rows - dropped, dropped)
    for reason, count in counts.items():
        log.info("dropped %d: %s", count, reason)
    return {"customers": rows - dropped, "dropped": dropped, "reasons": counts}


def _log(preparation: Preparation, settings: TransformSettings) -> None:
    for name, (low, high) in preparation.fences.items():
        log.info("outliers of %s, below %g or above %g: %s", name, low, high, settings.outliers)
    for name in settings.log_columns:
        log.info("%s is replaced by its logarithm", name)
    if settings.group_column:
        groups = ", ".join(str(group) for group in preparation.group_pipelines) or "none"
        log.info("groups of %s standardised each by itself: %s; all others together", settings.group_column, groups)
    for name, (smallest, largest) in preparation.training_range.items():
        log.info("%s from %g to %g", name, smallest, largest)
