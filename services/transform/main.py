"""Transform: fit the preparation, apply it to all customers that can be transformed, list the others."""

import logging
from collections import Counter
from functools import partial
from typing import Any

from services.contract import artifacts
from services.contract.preparation import Preparation, top_reasons
from services.contract.results import DROPPED_COLUMNS
from services.contract.settings import TransformSettings
from services.transform.features import (
    PreparationOptions,
    fit_preparation_to_parts,
    offset_row_numbers,
)
from services.transform.part_tasks import load_columns, prepare_part
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import worker_pool

log = logging.getLogger(__name__)


def main(settings: TransformSettings, work: Workspace) -> dict[str, Any]:
    parts = work.parts(artifacts.CUSTOMERS)
    target = work.output_location(artifacts.FEATURES)
    with worker_pool(settings.dask_scheduler, target.folder) as pool:
        group_column = settings.group_column or None
        load = partial(
            load_columns,
            feature_columns=settings.feature_columns,
            group_column=group_column,
            log_columns=settings.log_columns,
        )
        customers = pool.persist(load, parts)
        preparation = fit_preparation_to_parts(
            customers,
            settings.feature_columns,
            PreparationOptions(
                log_columns=settings.log_columns,
                outliers=settings.outliers,
                outlier_fence=settings.outlier_fence,
                group_column=group_column,
                min_group_size=settings.min_group_size,
            ),
        )
        _log(preparation, settings)
        prepare = partial(prepare_part, preparation=preparation, target=target)
        n_rows, reasons = 0, Counter[str]()
        with work.open_part(artifacts.DROPPED) as file:
            file.write((",".join(DROPPED_COLUMNS) + "\n").encode())
            for part in customers.map(prepare, parts):
                file.write(
                    offset_row_numbers(n_rows, part.dropped).to_csv(index=False, header=False, lineterminator="\n").encode()
                )
                if part.draft:
                    work.add_part(artifacts.FEATURES, part.draft)
                n_rows += part.n_rows
                reasons += part.reasons

    n_dropped, counts = reasons.total(), top_reasons(reasons)
    log.info("kept %d customers, dropped %d", n_rows - n_dropped, n_dropped)
    for reason, count in counts.items():
        log.info("dropped %d: %s", count, reason)
    return {"customers": n_rows - n_dropped, "dropped": n_dropped, "reasons": counts}


def _log(preparation: Preparation, settings: TransformSettings) -> None:
    for name, (low, high) in preparation.fences.items():
        log.info("outliers of %s, below %g or above %g: %s", name, low, high, settings.outliers)
    for name in settings.log_columns:
        log.info("%s is replaced by its logarithm", name)
    if settings.group_column:
        groups = ", ".join(str(group) for group in preparation.group_pipelines) or "none"
        log.info("groups of %s standardised separately: %s; all other customers together", settings.group_column, groups)
    for name, (smallest, largest) in preparation.training_range.items():
        log.info("training range of %s: %g to %g", name, smallest, largest)
