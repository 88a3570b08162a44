"""What profiles and comparisons need of all customers: sums over the parts, and a sample for medians and other quantiles.

Sums, counts, smallest and largest values are exact for any number of customers. Quantiles are exact for up to
MAX_EXACT_CUSTOMERS customers. Above, they come from a random sample with a fixed seed: as many customers of each cluster, and
of those without one, as MAX_EXACT_CUSTOMERS divided by the number of these groups, or all of a smaller group. With n sampled
customers of a cluster, the share of its customers below a reported quantile differs from the nominal share by at most
0.98 / sqrt(n) in 95 % of cases: by 0.0024 for five clusters, by 0.0033 for ten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.preparation import GroupCounts, Preparation
from services.segment.assignment import UNASSIGNED, add_by_cluster, iter_prepared
from services.segment.part_tasks import CustomerPart, add_up
from stagekit.workers.worker_pool import PersistedParts

MAX_EXACT_CUSTOMERS = 1_000_000
"""Number of customers up to which medians and other quantiles are exact."""

_SEED = 7


class FeatureSums(NamedTuple):
    """The features of the customers who have a cluster; arrays of shape (n_features,) unless noted."""

    n_customers: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    """Sum of the squared differences from the mean."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    cluster_sums: NDArray[np.float64]
    """Shape (n_clusters, n_features)."""

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation."""
        deviation: NDArray[np.float64] = np.sqrt(self.squares / max(self.n_customers, 1))
        return deviation


class CustomerStatistics(NamedTuple):
    """Exact figures over all customers."""

    sizes: NDArray[np.intp]
    """Number of customers of each cluster."""
    raw: FeatureSums
    """In the units of the table."""
    standardised: FeatureSums
    reasons: Counter[str]
    """Number of customers without a cluster, by reason."""
    groups: GroupCounts


class CustomerSample(NamedTuple):
    """All customers, or a random sample of each cluster; arrays of shape (n_sampled,)."""

    columns: pd.DataFrame
    """In the units of the table."""
    cluster: NDArray[np.int16]
    weight: NDArray[np.float64] | None
    """Number of customers that each one represents; None if these are all customers."""

    @property
    def is_assigned(self) -> NDArray[np.bool_]:
        """Mask of the customers who have a cluster."""
        is_assigned: NDArray[np.bool_] = self.cluster != UNASSIGNED
        return is_assigned


def collect_statistics(parts: PersistedParts, preparation: Preparation, n_clusters: int) -> CustomerStatistics:
    """Collect the statistics of all customers; each part is a `CustomerPart` with an assignment."""
    results = parts.map(partial(_collect, preparation=preparation, n_clusters=n_clusters))
    return CustomerStatistics(
        sizes=sum(result.sizes for result in results),  # type: ignore[arg-type]
        raw=merge_sums([result.raw for result in results]),
        standardised=merge_sums([result.standardised for result in results]),
        reasons=sum((result.reasons for result in results), Counter()),
        groups=GroupCounts(*add_up([result.groups for result in results])),
    )


def _collect(part: CustomerPart, *, preparation: Preparation, n_clusters: int) -> CustomerStatistics:
    features = part.columns[list(preparation.feature_columns)].to_numpy(dtype="float64")
    cluster = part.assigned.cluster
    raw, standardised = [], []
    for rows, prepared in iter_prepared(part.columns, preparation):
        raw.append(sum_features(features[rows], cluster[rows], n_clusters))
        standardised.append(sum_features(prepared, cluster[rows], n_clusters))
    nothing = sum_features(features[:0], np.empty(0, dtype=np.int16), n_clusters)
    return CustomerStatistics(
        np.bincount(cluster[part.assigned.is_assigned], minlength=n_clusters),
        merge_sums(raw or [nothing]),
        merge_sums(standardised or [nothing]),
        Counter(preparation.complaints(part.columns[~part.assigned.is_assigned])),
        preparation.count_groups(part.columns),
    )


def sum_features(values: NDArray[np.float64], cluster: NDArray[np.integer], n_clusters: int) -> FeatureSums:
    """Sum the features of customers who all have a cluster.

    Parameters
    ----------
    values : ndarray of shape (n_customers, n_features)
    cluster : ndarray of shape (n_customers,)
    n_clusters : int

    Returns
    -------
    FeatureSums
    """
    n_features = values.shape[1]
    cluster_sums = np.zeros((n_clusters, n_features))
    add_by_cluster(cluster_sums, cluster, values)
    mean = cluster_sums.sum(axis=0) / max(len(values), 1)
    columns = [np.ascontiguousarray(column) for column in values.T]
    return FeatureSums(
        len(values),
        mean,
        np.array([np.square(column - average).sum() for column, average in zip(columns, mean, strict=True)]),
        np.array([column.min(initial=np.inf) for column in columns]),
        np.array([column.max(initial=-np.inf) for column in columns]),
        cluster_sums,
    )


def merge_sums(parts: Sequence[FeatureSums]) -> FeatureSums:
    """Combine the sums of parts, without differences of large sums (Chan, Golub and LeVeque 1979)."""
    if len(parts) == 1:
        return parts[0]
    sizes = np.array([[part.n_customers] for part in parts])
    means = np.array([part.mean for part in parts])
    n_customers = int(sizes.sum())
    mean = (sizes * means).sum(axis=0) / max(n_customers, 1)
    squares = (np.array([part.squares for part in parts]) + sizes * np.square(means - mean)).sum(axis=0)
    return FeatureSums(
        n_customers,
        mean,
        squares,
        np.min([part.low for part in parts], axis=0),
        np.max([part.high for part in parts], axis=0),
        np.sum([part.cluster_sums for part in parts], axis=0),
    )


def draw_sample(parts: PersistedParts, n_clusters: int, max_customers: int = MAX_EXACT_CUSTOMERS) -> CustomerSample:
    """Draw customers of every cluster, and of those without one, without replacement; all if there are no more.

    The sample does not depend on how the table is divided into parts.
    """
    counts = np.array(parts.map(partial(_count_groups, n_clusters=n_clusters)))
    sizes, ends = counts.sum(axis=0), counts.cumsum(axis=0)
    is_exact = sizes.sum() <= max_customers
    quota = sizes.max() if is_exact else max_customers // len(sizes)
    rng = np.random.default_rng(_SEED)
    drawn = [np.sort(rng.choice(size, min(size, quota), replace=False, shuffle=False)) for size in sizes]
    # Positions within the group count over all parts; those of a part go from its first up to, but not including, its end.
    chosen = [
        [rows[slice(*np.searchsorted(rows, [first, end]))] - first for rows, first, end in zip(drawn, *bounds, strict=True)]
        for bounds in zip(ends - counts, ends, strict=True)
    ]
    columns, cluster = zip(*parts.map(_take_sample, chosen), strict=True)
    groups = np.concatenate(cluster)
    weight = None if is_exact else (sizes / np.maximum(np.minimum(sizes, quota), 1))[groups]
    return CustomerSample(pd.concat(columns, ignore_index=True), groups, weight)


def _count_groups(part: CustomerPart, *, n_clusters: int) -> NDArray[np.intp]:
    """Count the customers of each cluster, and last of those without one."""
    return np.bincount(part.assigned.cluster % (n_clusters + 1), minlength=n_clusters + 1)


def _take_sample(part: CustomerPart, chosen: list[NDArray[np.intp]]) -> tuple[pd.DataFrame, NDArray[np.int16]]:
    """Take the customers of a part at `chosen` positions of each cluster, and last of those without one."""
    cluster = part.assigned.cluster
    groups = [*range(len(chosen) - 1), UNASSIGNED]
    rows = [np.flatnonzero(cluster == group)[positions] for group, positions in zip(groups, chosen, strict=True)]
    in_order = np.sort(np.concatenate(rows))
    return part.columns.iloc[in_order], cluster[in_order]


def quantiles(
    values: NDArray[np.float64], probabilities: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Compute quantiles of values, interpolated unless they are weighted."""
    if weight is None:
        return np.quantile(values, probabilities)
    return np.quantile(values, probabilities, weights=weight, method="inverted_cdf")


def find_edges(sample: CustomerSample, feature_columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Find the distinct deciles of each feature, without missing values; none if there are no others."""
    edges = {}
    for name in feature_columns:
        values = sample.columns[name].to_numpy(dtype="float64")
        present = ~np.isnan(values)
        weight = None if sample.weight is None else sample.weight[present]
        deciles = quantiles(values[present], np.arange(1, 10) / 10, weight) if present.any() else np.empty(0)
        edges[name] = np.unique(deciles)
    return edges


def find_shares(
    parts: PersistedParts, edges: Mapping[str, NDArray[np.float64]], n_customers: int
) -> dict[str, NDArray[np.float64]]:
    """Find the share of all customers in each bin of the features.

    Parameters
    ----------
    parts : PersistedParts
        The customers, each part a `CustomerPart`.
    edges : dict
        Feature to the ascending upper edges of its bins, in the units of the table.
    n_customers : int
        Number of all customers.

    Returns
    -------
    dict of str to ndarray of shape (n_edges + 2,)
        Shares of the bins up to and including each edge, of the bin above the last edge, and of missing values.
    """
    counts = parts.map(partial(_count_bins, edges=edges))
    return {name: sum(part[name] for part in counts) / max(n_customers, 1) for name in edges}  # type: ignore[misc]


def _count_bins(part: CustomerPart, *, edges: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.intp]]:
    counts = {}
    for name, upper in edges.items():
        values = part.columns[name].to_numpy(dtype="float64")
        present = values[~np.isnan(values)]
        bins = np.bincount(np.searchsorted(upper, present, side="left"), minlength=len(upper) + 1)
        counts[name] = np.append(bins, len(values) - len(present))
    return counts
