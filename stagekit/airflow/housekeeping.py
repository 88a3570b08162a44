"""What housekeeping decides and removes inside Airflow: which runs are in progress, which logs are old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from stagekit.airflow.container_result import translate_errors
from stagekit.airflow.task_state import ENDED
from stagekit.airflow.trigger_form import read_variable, validate_with_form
from stagekit.volume.runs import run_folder

VARIABLE = "housekeeping"
"""The Airflow Variable whose JSON object changes the defaults of the form for every run."""


def choose_settings(form: Mapping[str, Param], params: Mapping[str, Any]) -> dict[str, Any]:
    """Choose each setting: from the form if it differs from its default, else from the Variable, else the default.

    As in the pipeline's Variable, null counts as not set.

    Raises AirflowFailException that names the setting, what was found and what was expected.
    """
    with translate_errors():
        variable = read_variable(VARIABLE)
        validate_with_form(variable, form, f"the Airflow Variable {VARIABLE}")
    defaults = {name: param.value for name, param in form.items()}
    less_specific = defaults | {name: value for name, value in variable.items() if value is not None}
    return {name: params[name] if params[name] != defaults[name] else less_specific[name] for name in form}


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
    for path in sorted(folder.rglob("*.log")):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < before:
            if not dry_run:
                path.unlink(missing_ok=True)
            yield path
    if not dry_run:
        for subfolder in sorted(folder.rglob("*/"), reverse=True):  # those inside another one first
            with suppress(OSError):  # it is not empty, or a link
                subfolder.rmdir()
