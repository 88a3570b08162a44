"""The active run before a run, from the registry."""

from __future__ import annotations

from services.contract.segment_registry import SegmentRegistry, SegmentRunEntry


def find_predecessor(registry: SegmentRegistry, run: str) -> SegmentRunEntry | None:
    """Find the run to compare with: the active one, or for a run that was published before, the one that was active before it.

    A retry is therefore never compared with itself. If that run's files are no longer kept, the active run is used, then the
    latest publication; None if no run was active yet.
    """
    entry = registry.entry(run)
    was_published = entry is not None and entry.first_published is not None
    if entry and was_published and entry.predecessor is None:
        return None
    wanted = [entry.predecessor] if entry and was_published else []
    candidates = [registry.entry(name) for name in (*wanted, registry.active_run)] + list(registry.kept_runs())
    return next((other for other in candidates if other and other.run != run and other.publication), None)


def newer_active_run(registry: SegmentRegistry, run: str) -> str | None:
    """Return the active run if its first try came after that of `run`."""
    order = [entry.run for entry in registry.runs]
    if run in order and registry.active_run in order[order.index(run) + 1 :]:
        return registry.active_run
    return None
