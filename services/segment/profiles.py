"""Describe segments in the units of the table: what is typical of each, and what distinguishes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import PROFILE_COLUMNS
from services.segment.customer_statistics import CustomerSample, CustomerStatistics, FeatureSums, quantiles
from stagekit.tables.csv_injection import escape_formula

LARGE_EFFECT, EFFECT = 1.2, 0.2
"""Effects, in standard deviations, from which a mean is very high or very low, and high or low. 0.2 is a small effect (Cohen
1988, Statistical Power Analysis for the Behavioral Sciences), 1.2 a very large one (Sawilowsky 2009, New Effect Size Rules of
Thumb)."""

_MIN_QUARTILE_RATIO = 1.5
"""Ratio of the third quartile to the first below which the zero of a feature is taken to mean nothing; see `has_index`."""


@dataclass(frozen=True)
class FeatureProfile:
    """One feature of one cluster, in the units of the table; NaN for a cluster without customers."""

    feature: str
    mean: float
    median: float
    """See `customer_statistics` for its error in large tables."""
    index: float
    """100 = the mean of all customers in a cluster; NaN for a feature without an index (`has_index`)."""
    effect: float
    """Difference of the mean from that of all customers in a cluster, in their standard deviations, in the space that was
    clustered: after logarithm and scaling."""

    @property
    def level(self) -> str:
        """`very low`, `low`, `average`, `high` or `very high`, by the effect."""
        size = abs(self.effect)
        if isnan(size) or size < EFFECT:
            return "average"
        return ("very " if size >= LARGE_EFFECT else "") + ("high" if self.effect > 0 else "low")

    @property
    def label(self) -> str:
        """The column's name as words, without punctuation: `credit limit`."""
        return " ".join(re.sub(r"[\W_]+", " ", self.feature).lower().split()) or self.feature


class Profile(NamedTuple):
    """Description of one cluster."""

    n_customers: int
    features: tuple[FeatureProfile, ...]
    """By absolute effect, the largest first."""

    @property
    def centroid(self) -> dict[str, float]:
        """The means, in the units of the table; empty for a cluster without customers."""
        return {one.feature: one.mean for one in self.features} if self.n_customers else {}

    @property
    def distinguishing_features(self) -> tuple[str, ...]:
        """The features that are not average as phrases, the largest effect first; the first feature at least."""
        distinguishing = [one for one in self.features if one.level != "average"] or list(self.features[:1])
        return tuple(
            f"{one.level} {one.label}" + ("" if isnan(one.index) else f" (index {one.index:.0f})")
            for one in distinguishing
            if self.n_customers
        )


def find_effects(standardised: FeatureSums, sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the difference of the mean of each cluster from that of all customers, in their standard deviations.

    Parameters
    ----------
    standardised : FeatureSums
        Sums in the space that was clustered.
    sizes : ndarray of shape (n_clusters,)

    Returns
    -------
    ndarray of shape (n_clusters, n_features)
        NaN for a cluster without customers.
    """
    deviation = standardised.deviation
    with np.errstate(invalid="ignore"):
        means = standardised.cluster_sums / sizes[:, None]
    effects: NDArray[np.float64] = (means - standardised.mean) / np.where(deviation > 0, deviation, 1.0)
    return effects


def has_index(low: float, high: float, quartiles: NDArray[np.float64]) -> bool:
    """Return whether an index, a ratio to the mean, is meaningful for a feature: whether its zero means "none".

    It is for amounts and counts, not for years, scores or temperatures. The table has no such information, so the values
    decide. There is no index if a value is negative, if all are 0, or if the third quartile is less than 1.5 times the first:
    then all customers are far from zero, compared with how far they are from each other, and every index would be near 100.
    Quartiles do not depend on a few outliers, nor does the index of a feature that is 0 for many.

    Parameters
    ----------
    low, high : float
        Smallest and largest value.
    quartiles : ndarray of shape (2,)
        First and third quartile.
    """
    if low < 0 or high <= 0:
        return False
    first, third = quartiles
    return bool(third >= _MIN_QUARTILE_RATIO * first)


def make_profiles(statistics: CustomerStatistics, sample: CustomerSample, feature_columns: Sequence[str]) -> list[Profile]:
    """Describe each cluster by the features of its customers.

    Parameters
    ----------
    statistics : CustomerStatistics
    sample : CustomerSample
        For medians and quartiles.
    feature_columns : sequence of str
        The features, in the order of the statistics.

    Returns
    -------
    list of Profile
        In the order of the clusters.
    """
    sizes, raw = statistics.sizes, statistics.raw
    effects = find_effects(statistics.standardised, sizes)
    members = sample.columns.loc[sample.is_assigned, list(feature_columns)]
    medians = members.groupby(sample.cluster[sample.is_assigned]).median().reindex(range(len(sizes))).to_numpy()
    overall = np.full(len(feature_columns), np.nan)
    weight = None if sample.weight is None else sample.weight[sample.is_assigned]
    for position, name in enumerate(feature_columns if len(members) else ()):
        quartiles = quantiles(members[name].to_numpy(), np.array([0.25, 0.75]), weight)
        if has_index(raw.low[position], raw.high[position], quartiles):
            overall[position] = raw.mean[position]
    with np.errstate(invalid="ignore"):
        means = raw.cluster_sums / sizes[:, None]
    profiles = []
    for cluster, size in enumerate(sizes.tolist()):
        values = np.stack([means[cluster], medians[cluster], 100 * means[cluster] / overall, effects[cluster]], axis=1).tolist()
        features = [FeatureProfile(name, *numbers) for name, numbers in zip(feature_columns, values, strict=True)]
        features.sort(key=lambda one: 0.0 if isnan(one.effect) else -abs(one.effect))
        profiles.append(Profile(size, tuple(features)))
    return profiles


def profile_table(profiles: Sequence[Profile], segment_ids: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Make profile.csv: one row for each segment and feature, by segment id and then by rank."""
    total = sum(profile.n_customers for profile in profiles)
    rows = [
        (
            segment_id,
            escape_formula(name),
            profile.n_customers,
            profile.n_customers / total,
            escape_formula(one.feature),
            one.median,
            one.mean,
            one.index,
            one.effect,
            rank,
        )
        for segment_id, name, profile in sorted(zip(segment_ids, names, profiles, strict=True), key=lambda item: item[0])
        for rank, one in enumerate(profile.features, start=1)
    ]
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))
