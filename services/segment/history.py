"""What came before a run, as the register tells it."""

from __future__ import annotations

from services.contract.segment_registry import SegmentRegistry, SegmentRunEntry


def find_predecessor(register: SegmentRegistry, run: str) -> SegmentRunEntry | None:
    """Find the run to compare with: the one in force, or for a run that was published before, the one in force before that.

    So a retry never compares a run with itself. Where that run's files are no longer kept, the one in force serves, then the
    latest publication; None where nothing was in force yet.
    """
    entry = register.entry(run)
    was_published = entry is not None and entry.first_published is not None
    if entry and was_published and entry.predecessor is None:
        return None
    wanted = [entry.predecessor] if entry and was_published else []
    candidates = [register.entry(name) for name in (*wanted, register.active_run)] + list(register.kept_runs())
    return next((other for other in candidates if other and other.run != run and other.publication), None)


def newer_active_run(register: SegmentRegistry, run: str) -> str | None:
    """Name the run in force if it came for the first time after this one did."""
    order = [entry.run for entry in register.runs]
    if run in order and register.active_run in order[order.index(run) + 1 :]:
        return register.active_run
    return None
