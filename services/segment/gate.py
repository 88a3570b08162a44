"""Decide whether the segments of a run may be published, and which warnings accompany them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from services.contract.preparation import GroupCounts, Preparation
from services.contract.results import WEAKEST_SEGMENT, Segment

MAX_UNGROUPED_SHARE = 0.05
"""Share of the customers without a known group above which there is a warning: as much as may be without a segment by default
(`max_unassigned`)."""


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


def group_reasons(preparation: Preparation, counts: GroupCounts) -> dict[str, int]:
    """Return why customers are standardised like all customers together although there are groups, with their number."""
    column = preparation.group_column
    by_reason = {f"no {column}": counts.missing, f"a {column} that was not there in training": counts.unknown}
    return {reason: count for reason, count in by_reason.items() if count}


def find_group_warning(by_reason: dict[str, int], n_customers: int) -> str | None:
    """Return a warning if more than MAX_UNGROUPED_SHARE of the customers have no known group; see `group_reasons`."""
    n_ungrouped = sum(by_reason.values())
    if n_ungrouped <= MAX_UNGROUPED_SHARE * n_customers:
        return None
    listed = ", ".join(f"{count} with {reason}" for reason, count in by_reason.items())
    return (
        f"{n_ungrouped} of {n_customers} customers ({100 * n_ungrouped / n_customers:.3g}%) are standardised like all "
        f"customers together, more than {100 * MAX_UNGROUPED_SHARE:g}%: {listed}; "
        "compare the values of the column with those in training"
    )


def _name(segment: Segment) -> str:
    return f"segment {segment.segment_id} ({segment.name})"
