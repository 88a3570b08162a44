"""The folders of runs on the volume: list them, and remove one so that no incomplete run remains and no link is followed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from stagekit.errors import TransientError
from stagekit.prune.selection import RunFolder
from stagekit.volume import files
from stagekit.volume.manifest import MANIFEST_NAME

_REMOVED_PREFIX = ".removed-"
"""Start of the name that a folder gets before it is removed; no run has such a name."""

log = logging.getLogger(__name__)


class Space(NamedTuple):
    """How full a volume is."""

    free_bytes: int
    used_share: float


def free_space(volume: Path) -> Space:
    """Measure how much of a volume's file system is available to users other than root."""
    status = os.statvfs(volume)
    return Space(status.f_bavail * status.f_frsize, 1 - status.f_bavail / status.f_blocks if status.f_blocks else 0.0)


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
        runs.append(RunFolder(entry.name, max(changed), sum(_sizes(entry.path))))
    return runs


def _time_of(stage: Path) -> float:
    """Read when a stage wrote its manifest, or began if it has none."""
    manifest = stage / MANIFEST_NAME
    return (manifest if manifest.exists() else stage).lstat().st_mtime


def _sizes(folder: str) -> Iterator[int]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(entry.path)
        else:
            yield entry.stat(follow_symlinks=False).st_size


def remove_run(runs_folder: Path, name: str) -> bool:
    """Remove the folder of a run: readers see all of it or nothing. Return False if one of its stages is running.

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
        _remove_tree(doomed)
    return True


def remove_leftovers(runs_folder: Path) -> None:
    """Remove what remains of runs whose removal was interrupted."""
    for entry in os.scandir(runs_folder):
        if entry.name.startswith(_REMOVED_PREFIX) and entry.is_dir(follow_symlinks=False):
            _remove_tree(Path(entry))


def _remove_tree(folder: Path) -> None:
    # rmtree opens folders relative to their parents and refuses links, so that none that appears in the meantime is followed.
    shutil.rmtree(folder)
