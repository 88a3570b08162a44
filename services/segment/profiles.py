"""Describe segments in the units of the table: what is typical of each, and what sets it apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import PROFILE_COLUMNS
from services.segment.assignment import NOBODY
from stagekit.tables.csv_injection import escape_formula

_LARGE_EFFECT, _EFFECT = 1.2, 0.2
"""Standard deviations: a mean that far from that of all customers is very high or very low, high or low. 0.2 is a small effect
(Cohen 1988, Statistical Power Analysis for the Behavioral Sciences), 1.2 a very large one (Sawilowsky 2009, New Effect Size
Rules of Thumb)."""

_MIN_QUARTILE_RATIO = 1.5
"""Third quartile over first below which the zero of a feature is taken to mean nothing: see `has_index`."""


@dataclass(frozen=True)
class Trait:
    """One feature of one cluster, in the units of the table; NaN in a cluster without customers."""

    feature: str
    mean: float
    median: float
    index: float
    """100 = the mean of all customers in a cluster; NaN for a feature without an index (`has_index`)."""
    effect: float
    """How far the mean is above that of all customers in a cluster, in their standard deviations, both in the space that was
    clustered: after logarithm and scaling."""

    @property
    def level(self) -> str:
        """`very low`, `low`, `average`, `high` or `very high`, by the effect."""
        size = abs(self.effect)
        if isnan(size) or size < _EFFECT:
            return "average"
        return ("very " if size >= _LARGE_EFFECT else "") + ("high" if self.effect > 0 else "low")

    @property
    def words(self) -> str:
        """The column's name as words: `credit limit`."""
        return " ".join(self.feature.replace("_", " ").lower().split()) or self.feature


class Profile(NamedTuple):
    """What one cluster is like."""

    customers: int
    traits: tuple[Trait, ...]
    """One for each feature, the one that sets the cluster apart most first: the one with the largest effect either way."""

    @property
    def centroid(self) -> dict[str, float]:
        """The means, in the units of the table; empty for a cluster without customers."""
        return {trait.feature: trait.mean for trait in self.traits} if self.customers else {}

    @property
    def sets_apart(self) -> tuple[str, ...]:
        """The traits that are not average, in words, the most telling first; the first one at least."""
        telling = [trait for trait in self.traits if trait.level != "average"] or list(self.traits[:1])
        return tuple(
            f"{trait.level} {trait.words}" + ("" if isnan(trait.index) else f" (index {trait.index:.0f})")
            for trait in telling
            if self.customers
        )


def find_effects(standardised: NDArray[np.float64], cluster: NDArray[np.integer], n_clusters: int) -> NDArray[np.float64]:
    """Compute how far the mean of each cluster is from that of all customers, in their standard deviations.

    Parameters
    ----------
    standardised : array of shape (n_customers, n_features), in the space that was clustered
    cluster : array of shape (n_customers,)

    Returns an array of shape (n_clusters, n_features), NaN for a cluster without customers.
    """
    sizes = np.bincount(cluster, minlength=n_clusters)
    sums = np.stack([np.bincount(cluster, weights=column, minlength=n_clusters) for column in standardised.T], axis=1)
    deviations = standardised.std(axis=0)
    with np.errstate(invalid="ignore"):
        means = sums / sizes[:, None]
    effects: NDArray[np.float64] = (means - standardised.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    return effects


def has_index(values: NDArray[np.float64]) -> bool:
    """Decide whether an index, a ratio to the mean, says anything about a feature: whether its zero means "none".

    It does for amounts and counts, not for years, scores or temperatures. No table tells these apart for certain; an index is
    left out if a value is negative, or if the third quartile is less than 1.5 times the first: then all customers are far from
    zero, compared with how far they are from each other, and every index would be near 100. Quartiles do not depend on a
    few outliers, nor does the index of a feature that is 0 for many.

    Parameters
    ----------
    values : array of shape (n_customers,), without missing values
    """
    if not values.size or values.min() < 0 or values.max() == 0:
        return False
    first, third = np.quantile(values, (0.25, 0.75))
    return bool(third >= _MIN_QUARTILE_RATIO * first)


def make_profiles(features: pd.DataFrame, cluster: NDArray[np.integer], effects: NDArray[np.float64]) -> list[Profile]:
    """Describe each cluster by the features of its customers.

    Parameters
    ----------
    features : DataFrame of shape (n_customers, n_features), in the units of the table
    cluster : array of shape (n_customers,), NOBODY for customers who are in none and do not count
    effects : array of shape (n_clusters, n_features), see `find_effects`
    """
    n_clusters = len(effects)
    assigned = cluster != NOBODY
    members = features[assigned]
    groups = members.groupby(cluster[assigned])
    means = groups.mean().reindex(range(n_clusters)).to_numpy()
    medians = groups.median().reindex(range(n_clusters)).to_numpy()
    overall = np.array([members[name].mean() if has_index(members[name].to_numpy()) else np.nan for name in members])
    indices = 100 * means / overall
    sizes = np.bincount(cluster[assigned], minlength=n_clusters)
    profiles = []
    for one, customers in enumerate(sizes):
        values = np.stack([means[one], medians[one], indices[one], effects[one]], axis=1).tolist()
        traits = [Trait(str(name), *numbers) for name, numbers in zip(features.columns, values, strict=True)]
        traits.sort(key=lambda trait: 0.0 if isnan(trait.effect) else -abs(trait.effect))
        profiles.append(Profile(int(customers), tuple(traits)))
    return profiles


def find_deviations(features: pd.DataFrame, cluster: NDArray[np.integer]) -> dict[str, float]:
    """Standard deviation of each feature over all customers in a cluster; see `make_profiles`."""
    return {str(name): float(value) for name, value in zip(features, features[cluster != NOBODY].std(ddof=0), strict=True)}


def profile_table(profiles: Sequence[Profile], segment_ids: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Make profile.csv: one row for each segment and feature, by segment id and then by rank."""
    total = sum(profile.customers for profile in profiles)
    rows = [
        (
            segment_id,
            escape_formula(name),
            profile.customers,
            profile.customers / total,
            escape_formula(trait.feature),
            trait.median,
            trait.mean,
            trait.index,
            trait.effect,
            rank,
        )
        for segment_id, name, profile in sorted(zip(segment_ids, names, profiles, strict=True), key=lambda item: item[0])
        for rank, trait in enumerate(profile.traits, start=1)
    ]
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))
