"""Segments by all columns: what distinguishes each from all other customers, and its share of the total of each amount."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import DESCRIPTION_COLUMNS, ColumnValue
from services.segment.profiles import has_index
from stagekit.tables.csv_injection import escape_formula

_QUARTILES = np.array([0.25, 0.5, 0.75])
_MAX_VALUE = 1e100
_DIGITS = 6  # of shares and differences: the last digits of sums differ between machines


def describe(
    customers: pd.DataFrame, segment_ids: NDArray[np.integer], all_ids: Collection[int], features: Collection[str]
) -> pd.DataFrame:
    """Describe each segment by all columns.

    The standardised difference of a numeric column is (mean of the segment - mean of all other customers) / standard deviation
    of all customers. A level of a text column counts like a number that is 1 for it and 0 otherwise, which gives
    (share in the segment - share among all other customers) / sqrt(p (1 - p)), p the share among all customers. So both are on
    one scale. Within a segment, the order is that of the standardised mean difference with the pooled standard deviation
    (Cohen's d), unless many values are missing.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
        Customers who have a segment; numeric columns in the units of the table, and text columns with few levels.
    segment_ids : ndarray of shape (n_customers,)
    all_ids : collection of int
        The segments to describe, also those without customers here.
    features : collection of str
        The clustering features among the columns.

    Returns
    -------
    DataFrame
        The rows of description.csv, by segment id and rank.
    """
    ids = np.array(sorted(all_ids))
    position = np.searchsorted(ids, segment_ids)
    tables = []
    for name in customers:
        describe_column = _describe_numbers if pd.api.types.is_numeric_dtype(customers[name]) else _describe_levels
        for table in describe_column(customers[name], position, len(ids)):
            texts = {"column": escape_formula(str(name)), "is_feature": "yes" if name in features else "no"}
            tables.append(table.assign(segment_id=ids, **texts, **_counts(customers[name], position, len(ids))))
    rows = pd.concat(tables, ignore_index=True).reindex(columns=list(DESCRIPTION_COLUMNS))
    rows = rows.assign(difference=rows["difference"].round(_DIGITS), strength=rows["difference"].abs())
    rows = rows.sort_values(["segment_id", "strength"], ascending=[True, False], kind="stable", na_position="last")
    rows["rank"] = rows.groupby("segment_id").cumcount() + 1
    return rows[list(DESCRIPTION_COLUMNS)]


def _describe_numbers(column: pd.Series[Any], position: NDArray[np.intp], n_segments: int) -> Iterator[pd.DataFrame]:
    """Yield a table with a row for each segment."""
    quartiles = column.groupby(position).quantile(_QUARTILES).unstack().reindex(index=range(n_segments), columns=_QUARTILES)
    has_value = column.notna().to_numpy()
    difference = _differences(column.to_numpy()[has_value], position[has_value], n_segments)
    yield quartiles.set_axis(["q1", "median", "q3"], axis="columns").assign(level="", difference=difference)


def _describe_levels(column: pd.Series[Any], position: NDArray[np.intp], n_segments: int) -> Iterator[pd.DataFrame]:
    """Yield a table with a row for each segment, for each level, the most frequent first."""
    texts = column.dropna()
    of = position[column.notna().to_numpy()]
    for level in texts.value_counts().index:
        is_level = (texts == level).to_numpy(dtype="float64")
        with np.errstate(invalid="ignore"):  # a segment without values
            share = np.bincount(of, weights=is_level, minlength=n_segments) / np.bincount(of, minlength=n_segments)
        difference = _differences(is_level, of, n_segments)
        yield pd.DataFrame({"level": escape_formula(str(level)), "share": share.round(_DIGITS), "difference": difference})


def _counts(column: pd.Series[Any], position: NDArray[np.intp], n_segments: int) -> dict[str, NDArray[Any]]:
    counts = np.bincount(position, weights=column.notna(), minlength=n_segments).astype(np.intp)
    with np.errstate(invalid="ignore"):  # a segment without customers
        missing_share = 1 - counts / np.bincount(position, minlength=n_segments)
    return {"customers": counts, "missing_share": missing_share.round(_DIGITS)}


def _differences(values: NDArray[np.float64], position: NDArray[np.intp], n_segments: int) -> NDArray[np.float64]:
    """Compute the standardised difference of each segment from all others; NaN if either has no values.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Without missing values.
    position : ndarray of shape (n_values,)
        Position of the segment of each.
    n_segments : int
    """
    counts = np.bincount(position, minlength=n_segments)
    others = counts.sum() - counts
    is_defined = (counts > 0) & (others > 0)
    if not values.size or values.min() == values.max():
        return np.where(is_defined, 0.0, np.nan)
    scaled = values / np.abs(values).max()  # squares of large values would overflow
    centred = scaled - scaled.mean()
    sums = np.bincount(position, weights=centred, minlength=len(counts))
    # The centred values sum to 0, so those of all others sum to the negative of the segment's.
    difference = sums / np.maximum(counts, 1) + sums / np.maximum(others, 1)
    return np.where(is_defined, difference / centred.std(), np.nan)


def share_totals(
    customers: pd.DataFrame, segment_ids: NDArray[np.integer], sizes: Mapping[int, int]
) -> tuple[tuple[ColumnValue, ...], dict[str, str]]:
    """Compute the share of each segment in the total of every amount.

    On a sample, the total of a segment is estimated by its mean in the sample times its size, a stratified estimate.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
        Customers who have a segment, all or a sample; text columns are ignored, missing values count as 0.
    segment_ids : ndarray of shape (n_customers,)
    sizes : mapping of segment id to the number of all its customers

    Returns
    -------
    tuple of ColumnValue
        The amounts, in the order of the columns.
    dict of str to str
        The numeric columns that are no amounts, with the reason; see `why_no_amount`.
    """
    values, not_amounts = [], {}
    ids = np.array(sorted(sizes))
    position = np.searchsorted(ids, segment_ids)
    counts = np.bincount(position, minlength=len(ids))
    weights = np.array([sizes[one] for one in ids.tolist()]) / np.maximum(counts, 1)
    for name in customers.select_dtypes("number"):
        column = customers[name].to_numpy()
        if reason := why_no_amount(column[~np.isnan(column)]):
            not_amounts[str(name)] = reason
            continue
        sums = np.bincount(position, weights=np.nan_to_num(column), minlength=len(ids)) * weights
        shares = {one: round(share, 6) for one, share in zip(ids.tolist(), (sums / sums.sum()).tolist(), strict=True)}
        values.append(ColumnValue(column=str(name), total=float(sums.sum()), shares=shares))
    return tuple(values), not_amounts


def why_no_amount(values: NDArray[np.float64]) -> str:
    """Return why the sum of a column means nothing, or an empty text if the column is an amount or a count.

    An amount is never negative, has values above 1, and its zero means "none" (`has_index`). This distinguishes amounts from
    other numbers only roughly: the age of customers qualifies if it is spread widely enough.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Without missing values.
    """
    if not values.size:
        return "has no values"
    if values.min() < 0:
        return "has negative values"
    if values.max() <= 1:
        return "has no value above 1, like a share, a frequency or a flag"
    if not has_index(values.min(), values.max(), np.quantile(values, (0.25, 0.75))):
        return "has no meaningful zero: the third quartile is less than 1.5 times the first, as for years and scores"
    return "has values too large to add up" if values.max() > _MAX_VALUE else ""
