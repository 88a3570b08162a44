"""history/runs.json: one entry per run, which outlives the runs' folders.

    {"schema_version": 1, "runs": [{"run": ..., "started": ..., ...}, ...]}

The file is replaced as a whole under a lock. Users can see and change it, so every entry is validated on reading; a damaged
file never fails a run.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from stagekit.errors import SetupError, TransientError
from stagekit.volume import files
from stagekit.volume.manifest import format_validation_error

FOLDER = "history"
FILE_NAME = f"{FOLDER}/runs.json"
MAX_RUNS = 500
"""Number of runs that are kept, the latest by their start."""
_MAX_WAIT_S = 10.0

log = logging.getLogger(__name__)


class HistoryEntry(BaseModel):
    """What every entry has; a pipeline adds its key figures. Fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    run: str
    started: AwareDatetime


Entry = TypeVar("Entry", bound=HistoryEntry)


def read_history(volume: Path, model: type[Entry]) -> list[Entry]:
    """Read the valid entries, in the order in which the runs started; logs a warning if the file is damaged."""
    entries, damage = _read(volume, model)
    if damage:
        log.warning("%s is damaged (%s): using the %d valid entries", FILE_NAME, damage, len(entries))
    return entries


def record_run(volume: Path, entry: HistoryEntry) -> None:
    """Add an entry, in place of an earlier one of the same run; the oldest beyond MAX_RUNS are dropped.

    A damaged file is kept beside the new one as `runs.damaged-<number>.json`; its valid entries are taken over.

    Raises
    ------
    TransientError
        Another process holds the lock for more than 10 seconds.
    SetupError
        The folder is a link that leads out of the volume.
    """
    path = volume / FILE_NAME
    if not path.parent.resolve().is_relative_to(volume.resolve()):
        raise SetupError(f"{FOLDER}/ is a link that leads out of the volume: put a folder there")
    path.parent.mkdir(exist_ok=True)
    lock = _wait_for_lock(path.parent)
    try:
        entries, damage = _read(volume, type(entry))
        if damage:
            names = (path.with_name(f"runs.damaged-{number}.json") for number in itertools.count(1))
            backup = next(name for name in names if not name.exists())
            path.rename(backup)
            log.warning("%s is damaged (%s): it is now %s, its valid entries are kept", FILE_NAME, damage, backup.name)
        others = [other for other in entries if other.run != entry.run]
        files.atomic_write(path, _to_json(_sort([*others, entry])[-MAX_RUNS:]))
    finally:
        os.close(lock)


def _wait_for_lock(folder: Path) -> int:
    """Wait for the lock, which another process holds for one small write."""
    deadline = time.monotonic() + _MAX_WAIT_S
    while True:
        try:
            return files.lock(folder)
        except TransientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _read(volume: Path, model: type[Entry]) -> tuple[list[Entry], str]:
    """Return the valid entries, one per run, and what is wrong with the file, empty if nothing is."""
    path = volume / FILE_NAME
    if not path.resolve().is_relative_to(volume.resolve()):
        return [], "it is a link that leads out of the volume"
    try:
        entries: Any = json.loads(path.read_bytes())["runs"]
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        return [], f"expected JSON with a list of runs; {type(error).__name__}: {error}"
    if not isinstance(entries, list):
        return [], "runs is not a list"
    valid: dict[str, Entry] = {}
    faults = []
    for number, fields in enumerate(entries, start=1):
        try:
            entry = model.model_validate_json(json.dumps(fields))  # rejects lone surrogates, too
        except ValidationError as error:
            faults.append(f"entry {number}: {format_validation_error(error)}")
        else:
            valid[entry.run] = entry
    return _sort(list(valid.values())), f"{len(faults)} of {len(entries)} entries, {faults[0]}" if faults else ""


def _sort(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.started, entry.run))


def _to_json(entries: Sequence[HistoryEntry]) -> bytes:
    """Write one entry per line, so that people find their way in the file."""
    lines = ",\n".join(entry.model_dump_json() for entry in entries)
    return f'{{"schema_version": 1, "runs": [\n{lines}\n]}}\n'.encode()
