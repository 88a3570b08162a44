"""Fit scikit-learn's pipelines to parts of a table, and make of them what fitting to the whole table would have made."""

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


class Fitted(NamedTuple):
    """A pipeline, and what it was fitted to."""

    pipeline: Pipeline
    customers: int
    low: NDArray[np.float64]
    """Smallest value of each feature, shape (n_features,), in the units of the table."""
    high: NDArray[np.float64]


def make_pipeline(feature_columns: Sequence[str], log_columns: Sequence[str], fences: Mapping[str, Interval]) -> Pipeline:
    """Make the unfitted pipeline; values are clipped to `fences` before the logarithm, which keeps their order."""
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


def fit(pipeline: Pipeline, features: NDArray[np.float64]) -> Fitted:
    """Fit a pipeline to features of shape (n_customers, n_features), at least one customer."""
    return Fitted(clone(pipeline).fit(features), len(features), features.min(axis=0), features.max(axis=0))


def fit_groups(pipeline: Pipeline, features: NDArray[np.float64], groups: pd.Series[Any]) -> dict[str, Fitted]:
    """Fit a pipeline to each group.

    Parameters
    ----------
    features : array of shape (n_customers, n_features)
    groups : Series of shape (n_customers,), names or numbers; a customer without one belongs to no group

    Returns the fits by group key; see `group_keys`.
    """
    keys = group_keys(groups).reset_index(drop=True)
    return {str(key): fit(pipeline, features[rows]) for key, rows in keys.groupby(keys).indices.items()}


def merge(fits: Sequence[Fitted]) -> Fitted:
    """Make of what was fitted to parts what would have been fitted to all of them; one part is taken as it is.

    Means and variances are combined without differences of large sums (Chan, Golub and LeVeque 1979).
    """
    if len(fits) == 1:
        return fits[0]
    counts = np.array([[part.customers] for part in fits])
    means = np.array([part.pipeline[-1].mean_ for part in fits])
    variances = np.array([part.pipeline[-1].var_ for part in fits])
    total = int(counts.sum())
    mean = (counts * means).sum(axis=0) / total
    variance = (counts * (variances + np.square(means - mean))).sum(axis=0) / total
    pipeline = deepcopy(fits[0].pipeline)
    scaler = pipeline[-1]
    scaler.mean_, scaler.var_, scaler.scale_ = mean, variance, np.where(variance > 0, np.sqrt(variance), 1.0)
    scaler.n_samples_seen_ = total
    return Fitted(pipeline, total, np.min([part.low for part in fits], axis=0), np.max([part.high for part in fits], axis=0))


def merge_group_fits(parts: Sequence[Mapping[str, Fitted]], min_group_size: int) -> tuple[dict[str, Pipeline], tuple[str, ...]]:
    """Merge the fits of each group.

    Returns the pipelines of the groups that are large enough and in which every feature has pool values, and the keys of
    all others.
    """
    fits: dict[str, list[Fitted]] = {}
    for part in parts:
        for group, fitted in part.items():
            fits.setdefault(group, []).append(fitted)
    pipelines, pooled = {}, []
    for group in sorted(fits):
        merged = merge(fits[group])
        if merged.customers >= min_group_size and _tells_everybody_apart(merged):
            pipelines[group] = merged.pipeline
        else:
            pooled.append(group)
    return pipelines, tuple(pooled)


def _tells_everybody_apart(group: Fitted) -> bool:
    low, high = group.pipeline.transform(np.stack([group.low, group.high]))
    return bool((low != high).all())
