"""The folders of runs on the volume: list, select and remove them; no incomplete run remains, and no link is followed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from stagekit.errors import TransientError
from stagekit.volume import files
from stagekit.volume.manifest import MANIFEST_NAME

_REMOVED_PREFIX = ".removed-"
"""Start of the name that a folder gets before it is removed; no run has such a name."""

log = logging.getLogger(__name__)


class RunFolder(NamedTuple):
    """A run on the volume."""

    folder: str
    """Name inside runs/."""
    changed: float
    """When a stage last wrote to it, in seconds since the epoch."""
    n_bytes: int


def list_runs(runs_folder: Path) -> list[RunFolder]:
    """List the runs: folders of folders. Links, hidden folders, and folders that hold files are not runs and are left alone."""
    runs = []
    for entry in os.scandir(runs_folder):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir(follow_symlinks=False):
            log.warning("runs/%s is no folder: leaving it alone", entry.name)
            continue
        stages = list(os.scandir(entry))
        if not all(stage.is_dir(follow_symlinks=False) for stage in stages):
            log.warning("runs/%s holds more than the folders of stages: leaving it alone", entry.name)
            continue
        changed = [_time_of(Path(stage)) for stage in stages] or [entry.stat(follow_symlinks=False).st_mtime]
        n_bytes = sum(path.lstat().st_size for path in Path(entry).rglob("*") if path.is_symlink() or path.is_file())
        runs.append(RunFolder(entry.name, max(changed), n_bytes))
    return runs


def _time_of(stage: Path) -> float:
    """Read when a stage wrote its manifest, or began if it has none."""
    manifest = stage / MANIFEST_NAME
    return (manifest if manifest.exists() else stage).lstat().st_mtime


def select_runs(runs: Sequence[RunFolder], keep_runs: int, protected: Collection[str]) -> list[RunFolder]:
    """Select the runs to remove: all but the last `keep_runs` and those that are protected, oldest first.

    Parameters
    ----------
    runs : sequence of RunFolder
    keep_runs : int
        At least 1, so that a run that has just begun is kept even if no caller names it.
    protected : collection of str
        Folders that are kept however old they are: of published and of running runs.

    Returns
    -------
    list of RunFolder
    """
    by_age = sorted(runs, key=lambda run: (run.changed, run.folder))
    return [run for run in by_age[: max(0, len(by_age) - keep_runs)] if run.folder not in protected]


def remove_run(runs_folder: Path, name: str) -> bool:
    """Remove the folder of a run: readers see all of it or nothing. Return False if one of its stages is running.

    `rmtree` opens folders relative to their parents and refuses links, so that none that appears in the meantime is followed.
    Raises OSError if it cannot be removed.
    """
    folder = runs_folder / name
    with ExitStack() as locks:
        for stage in os.scandir(folder):
            try:
                locks.callback(os.close, files.lock(Path(stage)))
            except TransientError:
                return False
        doomed = runs_folder / (_REMOVED_PREFIX + name)
        folder.rename(doomed)
        shutil.rmtree(doomed)
    return True


def remove_leftovers(runs_folder: Path) -> None:
    """Remove what remains of runs whose removal was interrupted."""
    for entry in os.scandir(runs_folder):
        if entry.name.startswith(_REMOVED_PREFIX) and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry)
