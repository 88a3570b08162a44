"""The folders of runs on the volume: list them, and remove one atomically and without following links."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from services.prune.selection import RunFolder
from stagekit.errors import TransientError
from stagekit.volume import files
from stagekit.volume.manifest import MANIFEST_NAME

_REMOVED_PREFIX = ".removed-"
"""Prefix of a run that is being removed. No run has such a name, so a partly removed run is not treated as one."""

log = logging.getLogger(__name__)


class Space(NamedTuple):
    """Space on the file system of a volume."""

    free_bytes: int
    used_share: float


def free_space(volume: Path) -> Space:
    """Measure how much of a volume's file system is available to users other than root."""
    space = os.statvfs(volume)
    return Space(space.f_bavail * space.f_frsize, 1 - space.f_bavail / space.f_blocks if space.f_blocks else 0.0)


def list_runs(runs_folder: Path) -> list[RunFolder]:
    """List the runs: folders of folders. Links, hidden folders, and folders with files are not runs and are not touched."""
    runs = []
    for entry in os.scandir(runs_folder):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir(follow_symlinks=False):
            log.warning("runs/%s is not a folder: it is not touched", entry.name)
            continue
        stages = list(os.scandir(entry))
        if not all(stage.is_dir(follow_symlinks=False) for stage in stages):
            log.warning("runs/%s contains more than the folders of stages: it is not touched", entry.name)
            continue
        changed = [_time_of(Path(stage)) for stage in stages] or [entry.stat(follow_symlinks=False).st_mtime]
        runs.append(RunFolder(entry.name, max(changed), sum(_sizes(entry.path))))
    return runs


def _time_of(stage: Path) -> float:
    """Return the time at which a stage wrote its manifest, or began if it has none."""
    manifest = stage / MANIFEST_NAME
    return (manifest if manifest.exists() else stage).lstat().st_mtime


def _sizes(folder: str) -> Iterator[int]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(entry.path)
        else:
            yield entry.stat(follow_symlinks=False).st_size


def remove_run(runs_folder: Path, name: str) -> bool:
    """Remove the folder of a run, atomically for other processes.

    Returns
    -------
    bool
        False if a stage of the run is running; the folder is then kept.

    Raises
    ------
    OSError
        If the folder cannot be removed.
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
        _remove_tree(doomed)
    return True


def remove_leftovers(runs_folder: Path) -> None:
    """Remove the folders of a process that was killed while it removed a run."""
    for entry in os.scandir(runs_folder):
        if entry.name.startswith(_REMOVED_PREFIX) and entry.is_dir(follow_symlinks=False):
            _remove_tree(Path(entry))


def _remove_tree(folder: Path) -> None:
    # rmtree opens folders relative to their parents and rejects links, so a link created meanwhile is not followed.
    shutil.rmtree(folder)
