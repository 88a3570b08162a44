"""Turn customers into features that K-Means can compare: outlier fences, logarithms, standardisation.

The table is accessed only through a function that maps other functions over its parts, on any worker.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Interval, Preparation
from services.contract.results import DROPPED_COLUMNS
from services.transform.scaling import FittedPipeline, fit, fit_groups, make_pipeline, merge_fits, merge_group_fits
from stagekit.errors import DataError, UsageError
from stagekit.tables.csv_injection import escape_formula
from stagekit.workers.worker_pool import InMemoryParts, PersistedParts


class PreparationOptions(NamedTuple):
    """What is done to the features before they are standardised, and within which groups."""

    log_columns: Sequence[str] = ()
    """Features to replace by log(1 + value)."""
    outliers: Literal["keep", "clip", "drop"] = "keep"
    outlier_fence: float = 3.0
    """Width of the fence in interquartile ranges; see `find_fence`."""
    group_column: str | None = None
    """Column whose groups are standardised separately."""
    min_group_size: int = 30
    """Groups with fewer customers are standardised like all customers together, and so are groups in which a feature has only
    one value."""


class Negatives(NamedTuple):
    """The values of one part that have no logarithm."""

    n_customers: int
    columns: tuple[pd.Series[float], ...]
    """One per log column: its negative values, indexed by CUST_ID, or by position in the part if there is no CUST_ID."""


class _PartFit(NamedTuple):
    """The pipelines fitted to one part."""

    n_complete: int
    """Number of customers who have every feature."""
    overall: FittedPipeline | None
    """Fitted to all customers of the part; None if there are none to fit to."""
    groups: dict[str, FittedPipeline]


def fit_preparation(customers: pd.DataFrame, feature_columns: Sequence[str], **options: Any) -> Preparation:
    """Check the columns of a table in memory, and fit the preparation to it; `options` are those of `PreparationOptions`."""
    known = PreparationOptions(**options)
    check_columns(customers, feature_columns, known.group_column)
    return fit_preparation_to_parts(InMemoryParts([customers]), feature_columns, known)


def fit_preparation_to_parts(
    customers: PersistedParts, feature_columns: Sequence[str], options: PreparationOptions
) -> Preparation:
    """Fit outlier fences, logarithms and standardisation, which are applied in this order.

    They are fitted to the customers who have every feature and, if `outliers` is "drop", are within every fence. The default is
    scikit-learn's StandardScaler and nothing else. Quartiles need a whole column in memory, 8 bytes per customer; everything
    else is merged from the results of the parts.

    Parameters
    ----------
    customers : PersistedParts
        Tables of shape (n_customers, n_columns) with the columns that `check_columns` requires. One pass; one more if there are
        log columns, and one per feature unless `outliers` is "keep".
    feature_columns : sequence of str
    options : PreparationOptions

    Raises
    ------
    DataError
        If a log column has a negative value, if no customer is left, or if a feature has the same value for all customers.
    """
    log_columns, outliers = options.log_columns, options.outliers
    if log_columns:
        _reject_negatives(customers.map(partial(_find_negatives, log_columns=log_columns)), log_columns)
    fences = _find_fences(customers, feature_columns, options) if outliers != "keep" else {}
    pipeline = make_pipeline(feature_columns, log_columns, fences if outliers == "clip" else {})
    bounds = fences if outliers == "drop" else {}
    fit_part = partial(
        _fit_part, feature_columns=feature_columns, pipeline=pipeline, bounds=bounds, group_column=options.group_column
    )
    part_fits = customers.map(fit_part)
    if not any(part.n_complete for part in part_fits):
        raise DataError(f"no customer has a value for each of {', '.join(feature_columns)}: nothing to group")
    fits = [part.overall for part in part_fits if part.overall]
    if not fits:
        raise DataError(f"every customer is beyond some outlier fence: raise outlier_fence, which is {options.outlier_fence:g}")
    overall = merge_fits(fits)
    group_pipelines, pooled_groups = merge_group_fits([part.groups for part in part_fits], options.min_group_size)
    return Preparation(
        feature_columns=tuple(feature_columns),
        log_columns=tuple(log_columns),
        fences=fences,
        drops_outliers=outliers == "drop",
        training_range=_find_range(overall, feature_columns),
        pipeline=overall.pipeline,
        group_column=options.group_column,
        group_pipelines=group_pipelines,
        pooled_groups=pooled_groups,
    )


def _find_fences(customers: PersistedParts, feature_columns: Sequence[str], options: PreparationOptions) -> dict[str, Interval]:
    fences = {}
    for name in feature_columns:
        column = np.concatenate(customers.map(partial(_take_column, feature_columns=feature_columns, name=name)))
        fence = find_fence(column, options.outlier_fence, is_log=name in options.log_columns) if column.size else None
        if fence:
            fences[name] = fence
    return fences


def _fit_part(
    customers: pd.DataFrame,
    *,
    feature_columns: Sequence[str],
    pipeline: Pipeline,
    bounds: Mapping[str, Interval],
    group_column: str | None,
) -> _PartFit:
    values = _select_complete(customers, feature_columns)
    kept = values[_is_inside(values, bounds)]
    if kept.empty:
        return _PartFit(len(values), None, {})
    features = kept.to_numpy()
    groups = {} if group_column is None else fit_groups(pipeline, features, customers.loc[kept.index, group_column])
    return _PartFit(len(values), fit(pipeline, features), groups)


def find_fence(column: NDArray[np.float64], width: float, *, is_log: bool = False) -> Interval | None:
    """Find the values beyond which a customer is an outlier.

    The fence is `width` interquartile ranges below the first quartile and above the third.

    Parameters
    ----------
    column : ndarray of shape (n_customers,)
        Without missing values, in the units of the table.
    width : float
    is_log : bool
        Whether quartiles and fence are those of log(1 + value); the fence is converted back to the units of the table.

    Returns
    -------
    Interval or None
        None if the quartiles are equal, because half the customers or more have the same value: all others would be outliers.

    References
    ----------
    Tukey (1977), Exploratory Data Analysis.
    """
    first, third = np.quantile(np.log1p(column) if is_log else column, (0.25, 0.75))
    if first == third:
        return None
    fence = np.array([first - width * (third - first), third + width * (third - first)])
    with np.errstate(over="ignore"):  # no value is beyond an infinite fence
        low, high = np.expm1(fence) if is_log else fence
    return float(low), float(high)


def list_dropped(customers: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """List the customers that cannot be transformed, with spreadsheet formulas escaped.

    Returns
    -------
    DataFrame with the columns CUST_ID and reason
        Without CUST_ID in the table, it is the position in `customers`, counted from 1; see `offset_row_numbers`.
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
    """Turn positions in a part into positions in the table, if they are used as ids.

    Parameters
    ----------
    first_row : int
        Number of rows of the parts before this one.
    dropped : DataFrame
        As `list_dropped` returns it.
    """
    ids = dropped[CUSTOMER_ID]
    return dropped.assign(**{CUSTOMER_ID: first_row + ids}) if ids.dtype.kind == "i" else dropped


def _select_complete(customers: pd.DataFrame, feature_columns: Sequence[str]) -> pd.DataFrame:
    """Return the features of the customers who have all of them."""
    return customers[list(feature_columns)].dropna()


def _take_column(customers: pd.DataFrame, *, feature_columns: Sequence[str], name: str) -> NDArray[np.float64]:
    return _select_complete(customers, feature_columns)[name].to_numpy()


def _find_negatives(customers: pd.DataFrame, *, log_columns: Sequence[str]) -> Negatives:
    """Find the negative values of the log columns in a part."""
    columns = []
    for name in log_columns:
        negative = (customers[name] < 0).to_numpy()
        ids = customers[CUSTOMER_ID].to_numpy()[negative] if CUSTOMER_ID in customers else np.flatnonzero(negative)
        columns.append(pd.Series(customers[name].to_numpy()[negative], index=ids))
    return Negatives(len(customers), tuple(columns))


def _reject_negatives(parts: Sequence[Negatives], log_columns: Sequence[str]) -> None:
    total = sum(part.n_customers for part in parts)
    for position, name in enumerate(log_columns):
        first_row = 1
        for part in parts:
            negative = part.columns[position]
            if not negative.empty:
                customer_id = negative.index[0]
                count = sum(len(other.columns[position]) for other in parts)
                customer = customer_id if isinstance(customer_id, str) else first_row + customer_id
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


def _find_range(fitted: FittedPipeline, feature_columns: Sequence[str]) -> dict[str, Interval]:
    ranges = dict(zip(feature_columns, zip(fitted.low.tolist(), fitted.high.tolist(), strict=True), strict=True))
    for name, (low, high) in ranges.items():
        if low == high:
            raise DataError(f"{name} is {low:g} for all {fitted.n_customers} customers: leave it out of feature_columns")
    return ranges
