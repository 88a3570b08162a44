"""Fit scikit-learn pipelines to parts of a table, and merge them into the pipeline fitted to the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.contract.preparation import Interval, group_keys


class FittedPipeline(NamedTuple):
    """A pipeline, with the number and the range of the customers it was fitted to."""

    pipeline: Pipeline
    n_customers: int
    low: NDArray[np.float64]
    """Smallest value of each feature, shape (n_features,), in the units of the table."""
    high: NDArray[np.float64]
    """Largest value of each feature."""


def make_pipeline(feature_columns: Sequence[str], log_columns: Sequence[str], fences: Mapping[str, Interval]) -> Pipeline:
    """Make the unfitted pipeline: clip, logarithm, StandardScaler.

    Parameters
    ----------
    feature_columns : sequence of str
    log_columns : sequence of str
        Features to replace by log(1 + value).
    fences : mapping of str to Interval
        Bounds to clip features to before the logarithm, in the units of the table. The logarithm is monotonic, so the order of
        the two steps does not matter.
    """
    steps: list[tuple[str, Any]] = []
    if fences:
        limits = [fences.get(name, (-np.inf, np.inf)) for name in feature_columns]
        low, high = np.array(limits).T
        steps.append(("clip", FunctionTransformer(np.clip, kw_args={"a_min": low, "a_max": high})))
    if log_columns:
        # One transformer for each column, because ColumnTransformer puts its columns in the order of its transformers.
        logarithm = FunctionTransformer(np.log1p)
        columns = [
            (str(position), logarithm if name in log_columns else "passthrough", [position])
            for position, name in enumerate(feature_columns)
        ]
        steps.append(("log", ColumnTransformer(columns)))
    steps.append(("scale", StandardScaler()))
    return Pipeline(steps)


def fit(pipeline: Pipeline, features: NDArray[np.float64]) -> FittedPipeline:
    """Fit a pipeline to features of shape (n_customers, n_features), at least one customer."""
    return FittedPipeline(clone(pipeline).fit(features), len(features), features.min(axis=0), features.max(axis=0))


def fit_groups(pipeline: Pipeline, features: NDArray[np.float64], groups: pd.Series[Any]) -> dict[str, FittedPipeline]:
    """Fit a pipeline to each group.

    Parameters
    ----------
    pipeline : Pipeline
        Unfitted.
    features : ndarray of shape (n_customers, n_features)
        In the units of the table.
    groups : Series of shape (n_customers,)
        Names or numbers; customers with a missing value belong to no group.

    Returns
    -------
    dict of str to FittedPipeline
        By group key; see `group_keys`.
    """
    keys = group_keys(groups).reset_index(drop=True)
    return {str(key): fit(pipeline, features[rows]) for key, rows in keys.groupby(keys).indices.items()}


def merge_fits(fits: Sequence[FittedPipeline]) -> FittedPipeline:
    """Merge the fits to parts into the fit to all of them; a single fit is returned unchanged.

    Means and variances are combined without differences of large sums.

    References
    ----------
    Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances.
    """
    if len(fits) == 1:
        return fits[0]
    counts = np.array([[part.n_customers] for part in fits])
    means = np.array([part.pipeline[-1].mean_ for part in fits])
    variances = np.array([part.pipeline[-1].var_ for part in fits])
    total = int(counts.sum())
    mean = (counts * means).sum(axis=0) / total
    variance = (counts * (variances + np.square(means - mean))).sum(axis=0) / total
    pipeline = deepcopy(fits[0].pipeline)
    scaler = pipeline[-1]
    scaler.mean_, scaler.var_, scaler.scale_ = mean, variance, np.where(variance > 0, np.sqrt(variance), 1.0)
    scaler.n_samples_seen_ = total
    return FittedPipeline(
        pipeline, total, np.min([part.low for part in fits], axis=0), np.max([part.high for part in fits], axis=0)
    )


def merge_group_fits(
    parts: Sequence[Mapping[str, FittedPipeline]], min_group_size: int
) -> tuple[dict[str, Pipeline], tuple[str, ...]]:
    """Merge the fits of each group.

    Parameters
    ----------
    parts : sequence of mapping of str to FittedPipeline
        The fits of each part by group key.
    min_group_size : int
        Number of customers.

    Returns
    -------
    pipelines : dict of str to Pipeline
        The groups that are large enough and in which every feature has more than one value.
    pooled : tuple of str
        The keys of all other groups.
    """
    fits: dict[str, list[FittedPipeline]] = {}
    for part in parts:
        for group, fitted in part.items():
            fits.setdefault(group, []).append(fitted)
    pipelines, pooled = {}, []
    for group in sorted(fits):
        merged = merge_fits(fits[group])
        if merged.n_customers >= min_group_size and _features_vary(merged):
            pipelines[group] = merged.pipeline
        else:
            pooled.append(group)
    return pipelines, tuple(pooled)


def _features_vary(group: FittedPipeline) -> bool:
    low, high = group.pipeline.transform(np.stack([group.low, group.high]))
    return bool((low != high).all())
