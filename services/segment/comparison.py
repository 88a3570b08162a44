"""Report what has changed since the previous segments: who moved, and whether the customers are still alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import MIGRATION_COLUMNS, UNASSIGNED_NAME, Comparison, Segment
from services.contract.segment_registry import Deciles
from services.segment.membership import NO_SEGMENT, NOT_IN_TABLE, PreviousMembership, split_by_part
from services.segment.part_tasks import CustomerPart
from stagekit.tables.csv_injection import escape_formula
from stagekit.workers.worker_pool import PersistedParts

PSI_MODERATE, PSI_LARGE = 0.1, 0.25
"""Population stability indices from which drift is moderate, and large enough to question a model: the customary thresholds of
credit scoring (Siddiqi 2006, Credit Risk Scorecards)."""

GOOD_AGREEMENT = 0.8
"""Adjusted Rand index below which two segmentations no longer agree well (Steinley 2004)."""

MIN_KNOWN_SHARE = 0.5
"""Share of the customers of the smaller table below which the ids of the two runs are questioned."""

_MIN_SHARE = 1e-4  # of a bin, since an empty one has no logarithm

Moves = Counter[tuple[int, int]]
"""Number of current customers by previous segment id (or NO_SEGMENT, NOT_IN_TABLE) and current segment id (or NO_SEGMENT)."""


def population_stability_index(previous: Deciles, shares: NDArray[np.float64]) -> float:
    """Compute the population stability index of a feature: 0 if its distribution has not changed.

    Parameters
    ----------
    previous : Deciles
    shares : ndarray of shape (n_edges + 2,)
        Shares of the current customers in the same bins; see `find_shares`.
    """
    before, after = np.maximum(previous.shares, _MIN_SHARE), np.maximum(shares, _MIN_SHARE)
    return float(((after - before) * np.log(after / before)).sum())


def count_moves(parts: PersistedParts, membership: PreviousMembership, segment_ids: Sequence[int]) -> Moves:
    """Count the customers of all parts by previous and current segment.

    Parameters
    ----------
    parts : PersistedParts
        The customers, each part a `CustomerPart` with an assignment.
    membership : PreviousMembership
    segment_ids : sequence of int
        The id of each cluster.
    """
    return sum(parts.map(partial(_count_moves, segment_ids=segment_ids), split_by_part(membership, parts)), Counter())


def _count_moves(part: CustomerPart, previous: NDArray[np.int32], *, segment_ids: Sequence[int]) -> Moves:
    current = np.array([*segment_ids, NO_SEGMENT])[part.assigned.cluster]  # UNASSIGNED takes the last
    counts = pd.DataFrame({"previous": previous, "current": current}).value_counts()
    return Counter(dict(zip(counts.index.tolist(), counts.tolist(), strict=True)))


def adjusted_rand_index(moves: Moves) -> float:
    """Compute the adjusted Rand index of two segmentations as `sklearn.metrics.adjusted_rand_score` does.

    References
    ----------
    Hubert and Arabie 1985, Comparing Partitions.
    """
    previous, current = Counter[int](), Counter[int]()
    for (before, after), count in moves.items():
        previous[before] += count
        current[after] += count
    n_pairs = math.comb(moves.total(), 2)
    together = sum(math.comb(count, 2) for count in moves.values())
    before, after = (sum(math.comb(count, 2) for count in sizes.values()) for sizes in (previous, current))
    largest = (before + after) / 2
    expected = before * after / n_pairs if n_pairs else 0.0
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def compare(
    run: str, moves: Moves, previous_names: Mapping[int, str], segment_ids: Sequence[int], psi: dict[str, float]
) -> Comparison:
    """Compare the current segment of each customer with the previous one.

    Parameters
    ----------
    run : str
        The previous run.
    moves : Moves
    previous_names : dict of segment id to name
        The previous segments.
    segment_ids : sequence of int
        The current segments.
    psi : dict of feature to float
        See `population_stability_index`.
    """
    common = Counter({pair: count for pair, count in moves.items() if min(pair) > NO_SEGMENT})
    return Comparison(
        run=run,
        common_customers=common.total(),
        same_segment=sum(count for (before, after), count in common.items() if before == after),
        ari=adjusted_rand_index(common) if common else 0.0,
        psi=psi,
        vanished={segment_id: name for segment_id, name in previous_names.items() if segment_id not in segment_ids},
    )


def make_migration(
    moves: Moves, departed: Mapping[int, int], previous_names: Mapping[int, str], current_names: Mapping[int, str]
) -> pd.DataFrame:
    """Make migration.csv: the customers by previous and current segment, in the order of the ids, no segment last.

    Parameters
    ----------
    moves : Moves
    departed : dict of int to int
        Customers who are no longer in the table, by previous segment id, or NO_SEGMENT.
    previous_names, current_names : dict of segment id to name
    """
    counts: Moves = Counter()
    for (before, after), count in moves.items():
        counts[max(before, NO_SEGMENT), after] += count  # a customer who was not in the table had no segment
    for before, count in departed.items():
        counts[before, NO_SEGMENT] += count
    last = 1 + max([*previous_names, *current_names], default=0)
    rows = [
        (*_named(before, previous_names), *_named(after, current_names), count)
        for (before, after), count in sorted(counts.items(), key=lambda item: tuple(one or last for one in item[0]))
    ]
    return pd.DataFrame(rows, columns=list(MIGRATION_COLUMNS))


def _named(segment_id: int, names: Mapping[int, str]) -> tuple[str, str]:
    return ("", UNASSIGNED_NAME) if segment_id == NO_SEGMENT else (str(segment_id), escape_formula(names[segment_id]))


def find_identity_warnings(run: str, membership: PreviousMembership) -> Iterator[str]:
    """Yield a warning if few customers have the same CUST_ID in both runs: replaced ids make customers unrecognisable.

    Parameters
    ----------
    run : str
        The previous run.
    membership : PreviousMembership
    """
    n_current = len(membership.segment_ids)
    n_known = int((membership.segment_ids != NOT_IN_TABLE).sum())
    n_previous = sum(membership.sizes.values())
    if n_known < MIN_KNOWN_SHARE * min(n_current, n_previous):
        yield (
            f"only {n_known} of {n_current} customers have a CUST_ID that was among the {n_previous} of run {run}: if ids were "
            "replaced or are written differently, moves between segments are unknown; sizes are compared nevertheless"
        )


def find_warnings(comparison: Comparison, segments: Sequence[Segment]) -> Iterator[str]:
    """Yield a sentence for each figure of a comparison that passes a threshold."""
    for segment_id, name in comparison.vanished.items():
        yield f"segment {segment_id} ({name}) has vanished since run {comparison.run}"
    for segment in segments:
        if segment.is_new:
            yield f"segment {segment.segment_id} ({segment.name}) is new since run {comparison.run}"
    if comparison.common_customers and comparison.ari < GOOD_AGREEMENT:
        moved = comparison.common_customers - comparison.same_segment
        yield (
            f"low agreement with run {comparison.run}: adjusted Rand index {comparison.ari:.2f} (threshold "
            f"{GOOD_AGREEMENT:g}); {moved} of {comparison.common_customers} customers changed segment"
        )
    for feature, psi in comparison.psi.items():
        if psi >= PSI_MODERATE:
            drift, threshold = ("strong", PSI_LARGE) if psi >= PSI_LARGE else ("moderate", PSI_MODERATE)
            yield f"{feature}: {drift} drift since run {comparison.run} (PSI {psi:.2f}, threshold {threshold:g})"
