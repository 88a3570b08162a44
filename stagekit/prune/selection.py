"""Which runs to remove from a volume."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class RunFolder(NamedTuple):
    """A run on the volume."""

    folder: str
    """Name inside runs/."""
    changed: float
    """When a stage last wrote to it, in seconds since the epoch."""
    n_bytes: int


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
