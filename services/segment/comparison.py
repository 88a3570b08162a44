"""Tell what has changed since the segments that were in force: who moved, and whether the customers are still alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from services.contract.results import MIGRATION_COLUMNS, UNASSIGNED_NAME, Comparison, Segment
from services.contract.segment_registry import Deciles
from services.segment.segments_csv import NO_SEGMENT, NOT_IN_TABLE, Members
from stagekit.tables.csv_injection import escape_formula

PSI_MODERATE, PSI_LARGE = 0.1, 0.25
"""Population stability indices above which a distribution has changed somewhat, and so much that a model is to be questioned:
the customary thresholds of credit scoring (Siddiqi 2006, Credit Risk Scorecards)."""

GOOD_AGREEMENT = 0.8
"""Adjusted Rand index below which two segmentations no longer agree well (Steinley 2004)."""

MIN_KNOWN_SHARE = 0.5
"""Share of the customers of the smaller table below which the ids of the two runs are questioned."""

_SMALLEST_SHARE = 1e-4  # stands for an empty bin, whose logarithm there is not


def find_deciles(features: pd.DataFrame) -> dict[str, Deciles]:
    """Note how each feature is distributed.

    Parameters
    ----------
    features : DataFrame of shape (n_customers, n_features), in the units of the table, missing values as NaN
    """
    deciles = {}
    for name, column in features.items():
        present = column.dropna().to_numpy()
        edges = np.unique(np.quantile(present, np.arange(1, 10) / 10)) if present.size else np.empty(0)
        deciles[str(name)] = Deciles(edges=tuple(edges.tolist()), shares=tuple(_shares(column, edges).tolist()))
    return deciles


def population_stability_index(then: Deciles, now: pd.Series[float]) -> float:
    """Compute the population stability index of a feature: 0 where it is distributed as it was then.

    Parameters
    ----------
    now : the values of all customers, missing ones as NaN
    """
    before = np.maximum(then.shares, _SMALLEST_SHARE)
    after = np.maximum(_shares(now, np.array(then.edges)), _SMALLEST_SHARE)
    return float(((after - before) * np.log(after / before)).sum())


def _shares(values: pd.Series[float], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the values up to each edge, above the last, and missing."""
    present = values.dropna().to_numpy()
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    shares: NDArray[np.float64] = np.append(counts, len(values) - len(present)) / max(len(values), 1)
    return shares


def compare(
    run: str,
    members: Members,
    segment_ids: NDArray[np.int64],
    before: Mapping[int, str],
    after: Sequence[int],
    psi: dict[str, float],
) -> Comparison:
    """Compare the segments of each customer of today with those of before.

    Parameters
    ----------
    run : the run in force before
    segment_ids : of each customer today, shape (n_customers,), NO_SEGMENT for none
    before : segments of before, id and name
    after : the segment ids of today
    psi : see `population_stability_index`
    """
    common = (members.segment_ids > NO_SEGMENT) & (segment_ids > NO_SEGMENT)
    then, now = members.segment_ids[common], segment_ids[common]
    return Comparison(
        run=run,
        common_customers=int(common.sum()),
        same_segment=int((then == now).sum()),
        ari=float(adjusted_rand_score(then, now)) if common.any() else 0.0,
        psi=psi,
        vanished={segment_id: name for segment_id, name in before.items() if segment_id not in after},
    )


def make_migration(
    members: Members, segment_ids: NDArray[np.int64], before: Mapping[int, str], after: Mapping[int, str]
) -> pd.DataFrame:
    """Make migration.csv: how many customers went from each segment of before to each of today, by ids, no segment last.

    Parameters
    ----------
    segment_ids : of each customer today, NO_SEGMENT for none
    before, after : id and name of the segments
    """
    then = np.maximum(members.segment_ids, NO_SEGMENT)  # who was not there was in no segment
    width = 1 + int(segment_ids.max(initial=NO_SEGMENT))
    cells, sizes = np.unique(then * width + segment_ids, return_counts=True)
    counts = {divmod(cell, width): count for cell, count in zip(cells.tolist(), sizes.tolist(), strict=True)}
    for origin, count in members.departed.items():
        counts[origin, NO_SEGMENT] = counts.get((origin, NO_SEGMENT), 0) + count
    last = 1 + max([*before, *after], default=0)
    rows = [
        (*_named(origin, before), *_named(target, after), count)
        for (origin, target), count in sorted(counts.items(), key=lambda item: tuple(one or last for one in item[0]))
    ]
    return pd.DataFrame(rows, columns=list(MIGRATION_COLUMNS))


def _named(segment_id: int, names: Mapping[int, str]) -> tuple[str, str]:
    return ("", UNASSIGNED_NAME) if segment_id == NO_SEGMENT else (str(segment_id), escape_formula(names[segment_id]))


def find_identity_warnings(run: str, members: Members) -> Iterator[str]:
    """Yield a warning if few customers have the same CUST_ID in both runs: ids that were replaced follow nobody.

    Parameters
    ----------
    run : the previous run
    members : its customers, looked up by the current ones
    """
    n_current = len(members.segment_ids)
    n_known = int((members.segment_ids != NOT_IN_TABLE).sum())
    n_previous = n_known + sum(members.departed.values())
    if n_known < MIN_KNOWN_SHARE * min(n_current, n_previous):
        yield (
            f"only {n_known} of {n_current} customers have a CUST_ID that was among the {n_previous} of run {run}: if ids were "
            "replaced or are written in another way, it cannot be told who moved; sizes are compared all the same"
        )


def find_warnings(comparison: Comparison, segments: Sequence[Segment]) -> Iterator[str]:
    """Say what in a comparison passes a threshold, in sentences for people."""
    for segment_id, name in comparison.vanished.items():
        yield f"segment {segment_id} ({name}) has vanished since run {comparison.run}"
    for segment in segments:
        if segment.is_new:
            yield f"segment {segment.segment_id} ({segment.name}) is new since run {comparison.run}"
    if comparison.common_customers and comparison.ari < GOOD_AGREEMENT:
        moved = comparison.common_customers - comparison.same_segment
        yield (
            f"the segments agree little with those of run {comparison.run}: adjusted Rand index {comparison.ari:.2f}, "
            f"below {GOOD_AGREEMENT:g}; {moved} of {comparison.common_customers} customers moved"
        )
    for feature, psi in comparison.psi.items():
        if psi >= PSI_MODERATE:
            change = "strongly" if psi >= PSI_LARGE else "moderately"
            threshold = PSI_LARGE if psi >= PSI_LARGE else PSI_MODERATE
            yield f"{feature} has shifted {change} since run {comparison.run}: stability index {psi:.2f}, from {threshold:g}"
