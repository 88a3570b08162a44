"""Turn customers into features that K-Means can compare: fenced, shaped and standardised.

The table is seen through a function that applies others to each of its parts, wherever these are.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Interval, Preparation
from services.contract.results import DROPPED_COLUMNS
from services.transform.scaling import Fitted, fit, fit_groups, make_pipeline, merge, merge_group_fits
from stagekit.errors import DataError, UsageError
from stagekit.tables.csv_injection import escape_formula

T = TypeVar("T")
Complete = Callable[[pd.DataFrame], pd.DataFrame]


class Apply(Protocol):
    """Calls `function` with every part of a table, DataFrames of shape (n_customers, n_columns), and returns the results in the
    order of the parts. `function` can be pickled and leaves the part as it is.
    """

    def __call__(self, function: Callable[[pd.DataFrame], T], /) -> list[T]: ...


class Negatives(NamedTuple):
    """The values of one part that have no logarithm."""

    n_customers: int
    columns: tuple[pd.Series[float], ...]
    """One per log column: its negative values, indexed by CUST_ID, or by position in the part if there is no CUST_ID."""


class _Look(NamedTuple):
    """What fitting to one part has found."""

    complete: int
    """How many customers have every feature."""
    everybody: Fitted | None
    """None if the part has no customer to fit to, or a negative value without a logarithm."""
    groups: dict[str, Fitted]
    negatives: Negatives


def fit_preparation(customers: pd.DataFrame, feature_columns: Sequence[str], **options: Any) -> Preparation:
    """Fit to a table in one piece; see `fit_preparation_to_parts`."""
    return fit_preparation_to_parts(lambda function: [function(customers)], feature_columns, **options)


def fit_preparation_to_parts(
    apply: Apply,
    feature_columns: Sequence[str],
    *,
    log_columns: Sequence[str] = (),
    outliers: Literal["keep", "clip", "drop"] = "keep",
    outlier_fence: float = 3.0,
    group_column: str | None = None,
    min_group_size: int = 30,
) -> Preparation:
    """Fit all that happens to a customer before K-Means: outlier fence, logarithm, standardisation, in this order.

    It is fitted to the customers who have every feature and, where `outliers` is "drop", are within every fence. By default it
    is scikit-learn's StandardScaler and nothing else. Quartiles take a whole column, 8 bytes for each customer; all else is
    put together from what is found in each part.

    Parameters
    ----------
    apply : gives access to the customers. It is called once if `outliers` is "keep", otherwise once more for each feature and
        once more for the log columns: the caller should then hold the parts in memory.
    log_columns : the features to replace by log(1 + value)
    outlier_fence : see `find_fence`
    group_column : column whose groups are standardised each by itself
    min_group_size : a group of fewer customers is standardised like all customers together, and so is one in which a feature
        is the same for everybody

    Raises UsageError where a column is not there or not numeric, DataError where a logarithm does not exist, where nobody is
    left, or where a feature is the same for everybody.
    """
    complete = partial(_complete, feature_columns=feature_columns, group_column=group_column)
    if log_columns and outliers != "keep":  # fences are found in the logarithms
        _refuse_negative(apply(partial(find_negatives, log_columns=log_columns)), log_columns)
    fences = {}
    for name in feature_columns if outliers != "keep" else ():
        column = np.concatenate(apply(partial(_take_column, name=name, complete=complete)))
        fence = find_fence(column, outlier_fence, is_log=name in log_columns) if column.size else None
        if fence:
            fences[name] = fence
    pipeline = make_pipeline(feature_columns, log_columns, fences if outliers == "clip" else {})
    inside = fences if outliers == "drop" else {}
    looks = apply(
        partial(_fit, pipeline=pipeline, inside=inside, group_column=group_column, complete=complete, log_columns=log_columns)
    )
    _refuse_negative([look.negatives for look in looks], log_columns)
    if not any(look.complete for look in looks):
        raise DataError(f"no customer has a value for each of {', '.join(feature_columns)}: nothing to group")
    fits = [look.everybody for look in looks if look.everybody]
    if not fits:
        raise DataError(f"every customer is beyond some outlier fence: raise outlier_fence, which is {outlier_fence:g}")
    everybody = merge(fits)
    group_pipelines, pooled_groups = merge_group_fits([look.groups for look in looks], min_group_size)
    return Preparation(
        feature_columns=tuple(feature_columns),
        log_columns=tuple(log_columns),
        fences=fences,
        drops_outliers=outliers == "drop",
        training_range=_find_range(everybody, feature_columns),
        pipeline=everybody.pipeline,
        group_column=group_column,
        group_pipelines=group_pipelines,
        pooled_groups=pooled_groups,
    )


def _fit(
    customers: pd.DataFrame,
    *,
    pipeline: Pipeline,
    inside: Mapping[str, Interval],
    group_column: str | None,
    complete: Complete,
    log_columns: Sequence[str],
) -> _Look:
    values = complete(customers)
    negatives = find_negatives(customers, log_columns=log_columns)
    kept = values[_is_inside(values, inside)]
    if kept.empty or any(len(column) for column in negatives.columns):
        return _Look(len(values), None, {}, negatives)
    features = kept.to_numpy()
    groups = {} if group_column is None else fit_groups(pipeline, features, customers.loc[kept.index, group_column])
    return _Look(len(values), fit(pipeline, features), groups, negatives)


def find_fence(column: NDArray[np.float64], width: float, *, is_log: bool = False) -> Interval | None:
    """Find where outliers begin: `width` interquartile ranges below the first quartile and above the third (Tukey 1977).

    With `is_log`, quartiles and fence are those of the logarithms, given back in the units of the table. A feature with equal
    quartiles, because half the customers or more have the same value, gets no fence: everybody else would be beyond it.

    Parameters
    ----------
    column : array of shape (n_customers,), without missing values
    """
    first, third = np.quantile(np.log1p(column) if is_log else column, (0.25, 0.75))
    if first == third:
        return None
    fence = np.array([first - width * (third - first), third + width * (third - first)])
    with np.errstate(over="ignore"):  # a fence at infinity is one that nobody is beyond
        low, high = np.expm1(fence) if is_log else fence
    return float(low), float(high)


def list_dropped(customers: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """Name those who do not fit and why, in texts that no spreadsheet takes for a formula: columns CUST_ID and reason.

    Where a table has no CUST_ID, it is the position in `customers`, counted from 1; see `offset_row_numbers`.
    """
    unfit = customers[~preparation.fits(customers)]
    ids: list[Any]
    if CUSTOMER_ID in customers:
        ids = [escape_formula(customer) for customer in unfit[CUSTOMER_ID]]
    else:
        ids = (1 + customers.index.get_indexer(unfit.index)).tolist()
    reasons = [escape_formula(reason) for reason in preparation.complaints(unfit)]
    return pd.DataFrame(dict(zip(DROPPED_COLUMNS, (ids, reasons), strict=True)))


def offset_row_numbers(first_row: int, dropped: pd.DataFrame) -> pd.DataFrame:
    """Turn positions in a part into those in the whole table, where they stand for ids."""
    ids = dropped[CUSTOMER_ID]
    return dropped.assign(**{CUSTOMER_ID: first_row + ids}) if ids.dtype.kind == "i" else dropped


def most_frequent(reasons: Counter[str], most: int = 10) -> dict[str, int]:
    """Count dropped customers by reason, the most frequent first; those beyond `most` reasons are counted together."""
    counts = reasons.most_common()
    if len(counts) > most:
        counts = [*counts[: most - 1], ("other reasons", sum(count for _, count in counts[most - 1 :]))]
    return dict(counts)


def _complete(customers: pd.DataFrame, *, feature_columns: Sequence[str], group_column: str | None) -> pd.DataFrame:
    """Take the features of those who have all of them."""
    check_columns(customers, feature_columns, group_column)
    return customers[list(feature_columns)].dropna()


def _take_column(customers: pd.DataFrame, *, name: str, complete: Complete) -> NDArray[np.float64]:
    return complete(customers)[name].to_numpy()


def find_negatives(customers: pd.DataFrame, *, log_columns: Sequence[str]) -> Negatives:
    """Find the negative values of the log columns.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns) with the log columns as numbers

    Returns
    -------
    Negatives
    """
    columns = []
    for name in log_columns:
        negative = (customers[name] < 0).to_numpy()
        ids = customers[CUSTOMER_ID].to_numpy()[negative] if CUSTOMER_ID in customers else np.flatnonzero(negative)
        columns.append(pd.Series(customers[name].to_numpy()[negative], index=ids))
    return Negatives(len(customers), tuple(columns))


def _refuse_negative(parts: Sequence[Negatives], log_columns: Sequence[str]) -> None:
    total = sum(part.n_customers for part in parts)
    for position, name in enumerate(log_columns):
        first_row = 1
        for part in parts:
            negative = part.columns[position]
            if not negative.empty:
                who = negative.index[0]
                count = sum(len(other.columns[position]) for other in parts)
                customer = who if isinstance(who, str) else first_row + who
                raise DataError(
                    f"customer {customer}: {name} is {negative.iloc[0]:.12g}, and a negative number has no logarithm "
                    f"({count} of {total} customers have one): leave {name} out of log_columns"
                )
            first_row += part.n_customers


def check_columns(customers: pd.DataFrame, feature_columns: Sequence[str], group_column: str | None) -> None:
    """Check that the table has the feature columns, as numbers, and the group column.

    Raises
    ------
    UsageError
        A column is missing or not numeric; the message names a similar column or lists those of the table.
    """
    for name in [*feature_columns, *([] if group_column is None else [group_column])]:
        if name not in customers:
            close = difflib.get_close_matches(name, customers.columns, n=1)
            hint = f"is {close[0]!r} meant?" if close else f"there are {', '.join(customers.columns[:30])}"
            raise UsageError(f"the customer table has no column {name!r}; {hint}")
    for name in feature_columns:
        if not pd.api.types.is_numeric_dtype(customers[name]):
            raise UsageError(f"{name} was read as text: run extract with the same feature_columns, {','.join(feature_columns)}")


def _is_inside(values: pd.DataFrame, fences: Mapping[str, Interval]) -> NDArray[np.bool_]:
    inside = np.ones(len(values), dtype=bool)
    for name, (low, high) in fences.items():
        inside &= values[name].between(low, high).to_numpy()
    return inside


def _find_range(fitted: Fitted, feature_columns: Sequence[str]) -> dict[str, Interval]:
    ranges = dict(zip(feature_columns, zip(fitted.low.tolist(), fitted.high.tolist(), strict=True), strict=True))
    for name, (low, high) in ranges.items():
        if low == high:
            raise DataError(f"{name} is {low:g} for all {fitted.customers} customers: it cannot tell them apart, leave it out")
    return ranges
