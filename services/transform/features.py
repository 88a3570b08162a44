"""Turn customers into features that K-Means can compare: fenced, shaped and standardised."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.contract.errors import DataError, UsageError
from services.contract.preparation import Interval, Preparation
from services.contract.results import DROPPED_COLUMNS
from services.contract.spreadsheets import harmless
from services.contract.tables import CUSTOMER_ID


def fit_preparation(
    customers: pd.DataFrame,
    feature_columns: Sequence[str],
    *,
    log_columns: Sequence[str] = (),
    outliers: Literal["keep", "clip", "drop"] = "keep",
    outlier_fence: float = 3.0,
    scale_by: str | None = None,
    smallest_group: int = 30,
) -> Preparation:
    """Fit all that happens to a customer before K-Means: outlier fence, logarithm, standardisation, in this order.

    It is fitted to the customers who have every feature and, where `outliers` is "drop", are within every fence. By default it
    is scikit-learn's StandardScaler and nothing else.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
    log_columns : the features to replace by log(1 + value)
    outlier_fence : see `find_fences`
    scale_by : column whose groups are standardised each by itself
    smallest_group : a group of fewer customers is standardised like all customers together, and so is one in which a feature
        is the same for everybody

    Raises UsageError where a column is not there or not numeric, DataError where a logarithm does not exist, where nobody is
    left, or where a feature is the same for everybody.
    """
    _check_columns(customers, feature_columns, scale_by)
    _refuse_negative(customers, log_columns)
    values = customers[list(feature_columns)].dropna()
    if values.empty:
        raise DataError(f"no customer has a value for each of {', '.join(feature_columns)}: nothing to group")
    fences = {} if outliers == "keep" else find_fences(values, log_columns, outlier_fence)
    if outliers == "drop":
        values = values[_is_inside(values, fences)]
        if values.empty:
            raise DataError(f"every customer is beyond some outlier fence: raise outlier_fence, which is {outlier_fence:g}")
    training_range = _find_range(values)
    pipeline = _make_pipeline(feature_columns, log_columns, fences if outliers == "clip" else {})
    features = values.to_numpy()
    groups = pd.Series(dtype="str") if scale_by is None else customers.loc[values.index, scale_by]
    return Preparation(
        feature_columns=tuple(feature_columns),
        log_columns=tuple(log_columns),
        fences=fences,
        drops_outliers=outliers == "drop",
        training_range=training_range,
        pipeline=clone(pipeline).fit(features),
        group_column=scale_by,
        group_pipelines=_fit_groups(pipeline, features, groups, smallest_group),
    )


def find_fences(values: pd.DataFrame, log_columns: Sequence[str], width: float) -> dict[str, Interval]:
    """Find where outliers begin: `width` interquartile ranges below the first quartile and above the third (Tukey 1977).

    Quartiles and fence of `log_columns` are those of the logarithms, given back in the units of the table. A feature with equal
    quartiles, because half the customers or more have the same value, gets no fence: everybody else would be beyond it.

    Parameters
    ----------
    values : DataFrame of shape (n_customers, n_features), without missing values
    """
    fences = {}
    for name, column in values.items():
        is_log = name in log_columns
        first, third = np.quantile(np.log1p(column) if is_log else column, (0.25, 0.75))
        if first == third:
            continue
        fence = np.array([first - width * (third - first), third + width * (third - first)])
        with np.errstate(over="ignore"):  # a fence at infinity is one that nobody is beyond
            low, high = np.expm1(fence) if is_log else fence
        fences[str(name)] = (float(low), float(high))
    return fences


def list_dropped(customers: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """Name those who do not fit and why, in texts that no spreadsheet takes for a formula: columns CUST_ID and reason.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns), indexed by the position in the whole table
    """
    unfit = customers[~preparation.fits(customers)]
    ids = [harmless(customer) for customer in customer_ids(unfit)]
    reasons = [harmless(reason) for reason in preparation.complaints(unfit)]
    return pd.DataFrame(dict(zip(DROPPED_COLUMNS, (ids, reasons), strict=True)))


def count_reasons(dropped: pd.DataFrame, most: int = 10) -> dict[str, int]:
    """Count dropped customers by reason, the most frequent first; those beyond `most` reasons are counted together."""
    counts = dropped["reason"].value_counts()
    if len(counts) > most:
        counts = pd.concat([counts[: most - 1], pd.Series({"other reasons": counts[most - 1 :].sum()})])
    return {str(reason): int(count) for reason, count in counts.items()}


def customer_ids(customers: pd.DataFrame) -> pd.Series[str]:
    """Take CUST_ID, or where a table has none the position of the row, counted from 1."""
    if CUSTOMER_ID in customers:
        return customers[CUSTOMER_ID]
    return pd.Series((customers.index + 1).astype("str"), index=customers.index, dtype="str", name=CUSTOMER_ID)


def _make_pipeline(feature_columns: Sequence[str], log_columns: Sequence[str], fences: Mapping[str, Interval]) -> Pipeline:
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


def _fit_groups(
    pipeline: Pipeline, features: NDArray[np.float64], groups: pd.Series[Any], smallest_group: int
) -> dict[Any, Pipeline]:
    """Fit the pipeline to each group that is large enough and in which no feature is the same for everybody.

    Parameters
    ----------
    features : array of shape (n_customers, n_features)
    groups : n_customers names or numbers; who has none belongs to no group
    """
    fitted = {}
    for group, rows in groups.groupby(groups).indices.items():
        members = features[rows]
        if len(members) < smallest_group:
            continue
        candidate = clone(pipeline).fit(members)
        if np.ptp(candidate.transform(members), axis=0).all():
            fitted[group] = candidate
    return fitted


def _check_columns(customers: pd.DataFrame, feature_columns: Sequence[str], scale_by: str | None) -> None:
    for name in [*feature_columns, *([] if scale_by is None else [scale_by])]:
        if name not in customers:
            close = difflib.get_close_matches(name, customers.columns, n=1)
            hint = f"is {close[0]!r} meant?" if close else f"there are {', '.join(customers.columns[:30])}"
            raise UsageError(f"the customer table has no column {name!r}; {hint}")
    for name in feature_columns:
        if not pd.api.types.is_numeric_dtype(customers[name]):
            raise UsageError(f"{name} was read as text: run extract with the same feature_columns, {','.join(feature_columns)}")


def _refuse_negative(customers: pd.DataFrame, log_columns: Sequence[str]) -> None:
    for name in log_columns:
        negative = customers.loc[customers[name] < 0, name]
        if not negative.empty:
            customer = customer_ids(customers.loc[negative.index[:1]]).iloc[0]
            raise DataError(
                f"customer {customer}: {name} is {negative.iloc[0]:.12g}, and a negative number has no logarithm "
                f"({len(negative)} of {len(customers)} customers have one): leave {name} out of log_columns"
            )


def _is_inside(values: pd.DataFrame, fences: Mapping[str, Interval]) -> NDArray[np.bool_]:
    inside = np.ones(len(values), dtype=bool)
    for name, (low, high) in fences.items():
        inside &= values[name].between(low, high).to_numpy()
    return inside


def _find_range(values: pd.DataFrame) -> dict[str, Interval]:
    ranges = {str(name): (float(column.min()), float(column.max())) for name, column in values.items()}
    for name, (low, high) in ranges.items():
        if low == high:
            raise DataError(f"{name} is {low:g} for all {len(values)} customers: it cannot tell them apart, leave it out")
    return ranges
