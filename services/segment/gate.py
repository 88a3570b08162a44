"""Decide whether the segments of a run may be published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from services.contract.results import WEAKEST_SEGMENT, Segment


class Gate(NamedTuple):
    """Settings that decide whether segments are published, besides the checks of evaluate."""

    max_unassigned: float
    """Maximum share of customers without a segment, from 0 to 1."""
    publish: Literal["if-passed", "never", "always"]

    def is_open(self, failed_checks: Sequence[str]) -> bool:
        """Return whether the segments may be published."""
        return self.publish == "always" or (self.publish == "if-passed" and not failed_checks)


def find_failed_checks(
    candidate_checks: Sequence[str],
    segments: Sequence[Segment],
    n_unassigned: int,
    n_customers: int,
    newer_run: str | None,
    max_unassigned: float,
) -> Iterator[str]:
    """Name the checks that the segments of a run fail, those of evaluate first.

    Parameters
    ----------
    candidate_checks : sequence of str
        The checks that the chosen k failed in evaluate.
    n_unassigned, n_customers : int
        Customers without a segment, and all customers.
    newer_run : str or None
        The active run, if this one is a re-run of an older one.
    max_unassigned : float
        Maximum share of customers without a segment, from 0 to 1.

    Yields
    ------
    str
        A sentence with the value found and the threshold.
    """
    assessed = [segment for segment in segments if segment.jaccard is not None]
    for check in candidate_checks:
        weakest = min(assessed, key=lambda segment: segment.jaccard or 0.0, default=None)
        yield check.replace(WEAKEST_SEGMENT, _name(weakest)) if weakest else check
    for segment in segments:
        if segment.customers == 0:
            yield f"{_name(segment)} is empty"
    if n_unassigned / n_customers > max_unassigned:
        share = f"{100 * n_unassigned / n_customers:.3g}%"
        yield f"{n_unassigned} of {n_customers} customers have no segment: {share}, more than {100 * max_unassigned:.3g}%"
    if newer_run is not None:
        yield f"run {newer_run} is active and newer than this one"


def find_unassessed(segments: Sequence[Segment]) -> Iterator[str]:
    """Warn of each segment that is too small to assess its stability; that alone does not fail a check."""
    for segment in segments:
        if segment.jaccard is None:
            yield f"{_name(segment)} is too small to assess its stability: {segment.customers} customers"


def _name(segment: Segment) -> str:
    return f"segment {segment.segment_id} ({segment.name})"
