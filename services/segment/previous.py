"""The run to compare with: which one it is, and what its segments are among the current customers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contract.preparation import Preparation
from services.contract.segment_registry import SegmentPublication, SegmentRegistry, SegmentRunEntry
from services.segment.assignment import Segmenter, find_missing_columns
from services.segment.membership import PreviousMembership, find_previous_membership
from services.segment.part_tasks import add_up, count_groups, sum_shifts
from stagekit.workers.worker_pool import PersistedParts


class PreviousRun(NamedTuple):
    """The run to compare with."""

    run: str
    publication: SegmentPublication
    segmenter: Segmenter
    missing_columns: tuple[str, ...]
    """Columns that its preparation needs and the current table does not have."""
    membership: PreviousMembership | None
    """None if its customers or the current ones have no CUST_ID."""
    centroids: NDArray[np.float64] | None = None
    """Its centroids in the space of the current preparation; None if the features differ. See `translate`."""
    n_unknown_groups: int = 0
    """Number of current customers in a group that its preparation does not know."""


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


def locate_previous_run(
    entry: SegmentRunEntry,
    segmenter: Segmenter,
    published: Iterable[BinaryIO],
    parts: PersistedParts,
    preparation: Preparation,
    folder: Path,
) -> PreviousRun:
    """Find the previous segment of each customer, and what the previous centroids are in the current space.

    Parameters
    ----------
    entry : SegmentRunEntry
        The previous run, with a publication.
    segmenter : Segmenter
        Of the previous run.
    published : iterable of files
        The parts of its segments.csv; they are opened only if the customers of both runs have ids.
    parts : PersistedParts
        The current customers, each part a `CustomerPart`.
    preparation : Preparation
        Of the current run.
    folder : Path
        For temporary files.
    """
    assert entry.publication is not None
    membership = find_previous_membership(published, parts, folder) if segmenter.has_ids else None
    missing_columns = find_missing_columns(segmenter.preparation, parts.map(attrgetter("columns.dtypes"))[0])
    previous = PreviousRun(entry.run, entry.publication, segmenter, missing_columns, membership)
    if missing_columns:
        return previous
    _, n_unknown_groups = add_up(parts.map(partial(count_groups, preparation=segmenter.preparation)))
    centroids = None
    if segmenter.preparation.feature_columns == preparation.feature_columns:
        sums, counts = add_up(parts.map(partial(sum_shifts, segmenter=segmenter, preparation=preparation)))
        centroids = translate(segmenter.centroids, sums, counts)
    return previous._replace(centroids=centroids, n_unknown_groups=n_unknown_groups)


def translate(
    centroids: NDArray[np.float64], shift_sums: NDArray[np.float64], counts: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the previous centroids in the space of the current preparation.

    Each moves like the mean of its customers does between the two spaces: exactly if these differ by a shift, and nearly if
    their scales are nearly the same. Equal spaces leave the centroids as they are, to the last bit.

    Parameters
    ----------
    centroids : ndarray of shape (n_segments, n_features)
        In the space of the previous preparation.
    shift_sums : ndarray of shape (n_segments, n_features)
        Sum of (current - previous) standardised features over the current customers of each previous segment.
    counts : ndarray of shape (n_segments,)
        Number of these customers.

    Returns
    -------
    ndarray of shape (n_segments, n_features)
    """
    translated: NDArray[np.float64] = centroids + shift_sums / np.maximum(counts, 1)[:, None]
    return translated
