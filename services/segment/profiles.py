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
from services.contract.spreadsheets import harmless
from services.segment.assignment import NOBODY

_VERY_HIGH, _HIGH, _LOW, _VERY_LOW = 300, 130, 77, 33  # indices; the lower ones are the upper ones turned over
_LARGE_EFFECT, _EFFECT, _NO_EFFECT = 2.0, 0.5, 0.1  # standard deviations


@dataclass(frozen=True)
class Trait:
    """One feature of one cluster, in the units of the table; NaN in a cluster without customers."""

    feature: str
    mean: float
    median: float
    index: float
    """100 = the mean of all customers in a cluster; NaN where that mean is not above 0."""
    effect: float
    """How far the mean is above that of all customers in a cluster, in their standard deviations."""

    @property
    def level(self) -> str:
        """`very low`, `low`, `average`, `high` or `very high`: by the index, or without one by the effect."""
        if isnan(self.effect) or abs(self.effect) < _NO_EFFECT:
            return "average"
        if isnan(self.index):
            steps = (-_LARGE_EFFECT, -_EFFECT, _EFFECT, _LARGE_EFFECT)
            value = self.effect
        else:
            steps = (_VERY_LOW, _LOW, _HIGH, _VERY_HIGH)
            value = self.index
        very_low, low, high, very_high = steps
        if value >= high:
            return "very high" if value >= very_high else "high"
        if value <= low:
            return "very low" if value <= very_low else "low"
        return "average"

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


def make_profiles(features: pd.DataFrame, cluster: NDArray[np.integer], n_clusters: int) -> list[Profile]:
    """Describe each cluster by the features of its customers.

    Parameters
    ----------
    features : DataFrame of shape (n_customers, n_features), in the units of the table
    cluster : array of shape (n_customers,), NOBODY for customers who are in none and do not count
    """
    assigned = cluster != NOBODY
    members = features[assigned]
    groups = members.groupby(cluster[assigned])
    means = groups.mean().reindex(range(n_clusters)).to_numpy()
    medians = groups.median().reindex(range(n_clusters)).to_numpy()
    overall, deviations = members.mean().to_numpy(), find_deviations(features, cluster)
    with np.errstate(divide="ignore", invalid="ignore"):
        indices = np.where(overall > 0, 100 * means / overall, np.nan)
        effects = (means - overall) / np.array(list(deviations.values()))
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


def make_table(profiles: Sequence[Profile], segment_ids: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Make profile.csv: one row for each segment and feature, by segment id and then by rank."""
    total = sum(profile.customers for profile in profiles)
    rows = [
        (
            segment_id,
            harmless(name),
            profile.customers,
            profile.customers / total,
            harmless(trait.feature),
            trait.median,
            trait.mean,
            trait.index,
            rank,
        )
        for segment_id, name, profile in sorted(zip(segment_ids, names, profiles, strict=True), key=lambda item: item[0])
        for rank, trait in enumerate(profile.traits, start=1)
    ]
    return pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))
