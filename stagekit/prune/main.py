"""Prune: remove the folders of old runs from the volume, and report how full the volume is."""

import logging
import shutil
from typing import Any

from stagekit.errors import SetupError
from stagekit.pipeline import Pipeline
from stagekit.prune.folders import list_runs, remove_leftovers, remove_run, select_runs
from stagekit.prune.stage import PruneSettings
from stagekit.volume.model_store import ModelStore
from stagekit.volume.runs import run_folder

log = logging.getLogger(__name__)
_MAX_NAMED = 10
"""How many folders the result names, so that it stays short."""


def main(settings: PruneSettings, pipeline: Pipeline) -> dict[str, Any]:
    runs_folder = settings.volume / "runs"
    if runs_folder.is_symlink() or not runs_folder.is_dir():
        raise SetupError(f"{runs_folder} is not a folder: prune works on the folder runs/ of a volume and follows no links")
    # A damaged registry ends this before anything is removed: it names the runs whose results are in use.
    published = {run_folder(entry.run) for entry in ModelStore(settings.volume, pipeline).read_registry().kept_runs()}
    if not settings.dry_run:
        remove_leftovers(runs_folder)
    runs = list_runs(runs_folder)
    selected = select_runs(runs, settings.keep_runs, published | set(settings.keep))
    removed, freed_bytes, failed = [], 0, 0
    for run in selected:
        if settings.dry_run:
            log.info("would remove runs/%s (%s bytes)", run.folder, f"{run.n_bytes:,}")
        else:
            try:
                if not remove_run(runs_folder, run.folder):
                    log.info("kept runs/%s: one of its stages is running", run.folder)
                    continue
            except OSError as error:
                log.warning("runs/%s cannot be removed: %s", run.folder, error)
                failed += 1
                continue
            log.info("removed runs/%s (%s bytes)", run.folder, f"{run.n_bytes:,}")
        removed.append(run.folder)
        freed_bytes += run.n_bytes
    if failed:
        raise SetupError(f"{failed} of {len(selected)} folders cannot be removed: give this user write access to runs/")
    usage = shutil.disk_usage(settings.volume)
    used_share = 1 - usage.free / usage.total if usage.total else 0.0  # what root alone may still use counts as used
    is_filling = used_share > settings.warn_share
    if is_filling:
        log.warning("the volume is %.0f %% full, the limit is %.0f %%", 100 * used_share, 100 * settings.warn_share)
    return {
        "dry_run": settings.dry_run,
        "n_removed": len(removed),
        "removed": removed[:_MAX_NAMED],
        "n_kept": len(runs) - len(removed),
        "freed_bytes": freed_bytes,
        "free_bytes": usage.free,
        "used_share": round(used_share, 3),
        "is_filling": is_filling,
    }
