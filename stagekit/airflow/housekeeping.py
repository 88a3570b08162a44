"""What housekeeping decides and removes inside Airflow: which runs are in progress, which logs are old."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from stagekit.airflow.task_state import ENDED
from stagekit.volume.runs import run_folder

VARIABLE = "housekeeping"
"""The Airflow Variable whose JSON object changes the defaults of the form for every run."""


def choose_settings(form: Mapping[str, Param], params: Mapping[str, Any], variable: Any) -> dict[str, Any]:
    """Choose each setting: from the form if it differs from its default, else from the Variable, else the default.

    Raises AirflowFailException that names the setting, what was found and what was expected.
    """
    if not isinstance(variable, dict) or not set(variable) <= set(form):
        raise AirflowFailException(
            f"the Airflow Variable {VARIABLE} is {variable!r}: expected an object with {', '.join(form)}"
        )
    chosen = {}
    for name, param in form.items():
        default = param.value
        value = params[name] if params[name] != default else variable.get(name, default)
        try:
            chosen[name] = Param(value, schema=param.schema).resolve()
        except ParamValidationError as error:
            reason = str(error).splitlines()[0]
            raise AirflowFailException(f"the Airflow Variable {VARIABLE} sets {name} to {value!r}: {reason}") from None
    return chosen


def folders_in_progress(states: Mapping[str, Mapping[str, str | None]]) -> list[str]:
    """Name the folders of the runs that have a task that has not ended.

    Parameters
    ----------
    states : mapping
        The state of each task, by run.
    """
    return sorted(run_folder(run) for run, tasks in states.items() if not ENDED.issuperset(tasks.values()))


def describe_volume(result: Mapping[str, Any]) -> str:
    """Describe what housekeeping has removed from the volume, and how full it is, from the result of the stage `prune`."""
    verb = "would remove" if result["dry_run"] else "removed"
    runs = "1 run" if result["n_removed"] == 1 else f"{result['n_removed']} runs"
    text = f"{verb} {runs} ({result['freed_bytes'] / 1e9:.1f} GB); the volume is {result['used_share']:.0%} full"
    if result["is_filling"]:
        text += f", {result['free_bytes'] / 1e9:.1f} GB are free: keep fewer runs, or give the volume more space"
    return text


def remove_logs(folder: Path, before: float, *, dry_run: bool) -> Iterator[Path]:
    """Remove log files last written before a time, and the folders that they leave empty; yields what goes.

    Links are neither followed nor removed.

    Parameters
    ----------
    folder : Path
        Folder of Airflow's logs.
    before : float
        In seconds since the epoch.
    dry_run : bool
        Only yield.
    """
    for name, subfolders, names in os.walk(folder, topdown=False, followlinks=False):
        for path in _older(Path(name), names, before):
            if not dry_run:
                path.unlink(missing_ok=True)
            yield path
        if not dry_run:
            _remove_if_empty(Path(name), subfolders)


def _older(folder: Path, names: Iterable[str], before: float) -> Iterator[Path]:
    for name in names:
        path = folder / name
        if not path.is_symlink() and path.suffix == ".log" and path.stat().st_mtime < before:
            yield path


def _remove_if_empty(folder: Path, subfolders: Collection[str]) -> None:
    for name in subfolders:
        path = folder / name
        if not path.is_symlink() and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
