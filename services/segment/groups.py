"""Customers without a group that the preparation knows: counted, with a warning if they are many."""

from __future__ import annotations

from services.contract.preparation import GroupCounts, Preparation

MAX_SHARE = 0.05
"""Share of the customers without a known group above which there is a warning: as much as may be without a segment by default
(`max_unassigned`)."""


def group_reasons(preparation: Preparation, counts: GroupCounts) -> dict[str, int]:
    """Return why customers are standardised like all customers together although there are groups, with their number."""
    column = preparation.group_column
    by_reason = {f"no {column}": counts.missing, f"a {column} that was not there in training": counts.unknown}
    return {reason: count for reason, count in by_reason.items() if count}


def find_warning(by_reason: dict[str, int], n_customers: int) -> str | None:
    """Return a warning if more than MAX_SHARE of the customers have no known group; see `group_reasons`."""
    n_ungrouped = sum(by_reason.values())
    if n_ungrouped <= MAX_SHARE * n_customers:
        return None
    listed = ", ".join(f"{count} with {reason}" for reason, count in by_reason.items())
    return (
        f"{n_ungrouped} of {n_customers} customers ({100 * n_ungrouped / n_customers:.3g}%) are standardised like all "
        f"customers together, more than {100 * MAX_SHARE:g}%: {listed}; compare the values of the column with those in training"
    )
