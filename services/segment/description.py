"""description.csv: every column by segment, ordered by how much it distinguishes the segment from all other customers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import DESCRIPTION_COLUMNS
from stagekit.tables.csv_injection import escape_formula

_QUARTILES = np.array([0.25, 0.5, 0.75])
_DIGITS = 6  # of shares and differences: the last digits of sums differ between machines

Row = dict[str, Any]


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
    sizes = np.bincount(position, minlength=len(ids))
    rows: list[Row] = []
    for name in customers:
        column = customers[name]
        describe_column = _describe_numbers if pd.api.types.is_numeric_dtype(column) else _describe_levels
        for row in describe_column(column, position, sizes):
            text = {"column": escape_formula(str(name)), "is_feature": "yes" if name in features else "no"}
            rows.append({**row, **text, "segment_id": int(ids[row["segment_id"]])})
    table = pd.DataFrame(rows, columns=list(DESCRIPTION_COLUMNS))
    table = table.assign(difference=table["difference"].round(_DIGITS), strength=table["difference"].abs())
    table = table.sort_values(["segment_id", "strength"], ascending=[True, False], kind="stable", na_position="last")
    table["rank"] = table.groupby("segment_id").cumcount() + 1
    return table[list(DESCRIPTION_COLUMNS)]


def _describe_numbers(column: pd.Series[Any], position: NDArray[np.intp], sizes: NDArray[np.intp]) -> Iterator[Row]:
    """Yield a row for each segment, which is its position in `sizes`."""
    has_value = column.notna().to_numpy()
    groups = column.groupby(position)
    quartiles = groups.quantile(_QUARTILES).unstack().reindex(index=range(len(sizes)), columns=_QUARTILES).to_numpy()
    counts = np.bincount(position[has_value], minlength=len(sizes))
    differences = _differences(column.to_numpy()[has_value], position[has_value], counts)
    for segment, (q1, median, q3) in enumerate(quartiles):
        yield {
            **_counts(segment, counts[segment], sizes[segment]),
            "level": "",
            "median": median,
            "q1": q1,
            "q3": q3,
            "difference": differences[segment],
        }


def _describe_levels(column: pd.Series[Any], position: NDArray[np.intp], sizes: NDArray[np.intp]) -> Iterator[Row]:
    """Yield a row for each level and segment, the most frequent level first."""
    has_value = column.notna().to_numpy()
    texts, of = column.to_numpy()[has_value], position[has_value]
    counts = np.bincount(of, minlength=len(sizes))
    for level in pd.Series(texts).value_counts().index:
        is_level = (texts == level).astype("float64")
        differences = _differences(is_level, of, counts)
        shares = np.bincount(of, weights=is_level, minlength=len(sizes)) / np.maximum(counts, 1)
        for segment, share in enumerate(shares):
            yield {
                **_counts(segment, counts[segment], sizes[segment]),
                "level": escape_formula(str(level)),
                "share": round(share, _DIGITS) if counts[segment] else np.nan,
                "difference": differences[segment],
            }


def _counts(segment: int, n_values: int, size: int) -> Row:
    missing_share = round(1 - float(n_values) / float(size), _DIGITS) if size else np.nan
    return {"segment_id": segment, "customers": int(n_values), "missing_share": missing_share}


def _differences(values: NDArray[np.float64], position: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the standardised difference of each segment from all others; NaN if either has no values.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Without missing values.
    position : ndarray of shape (n_values,)
        Position of the segment of each.
    counts : ndarray of shape (n_segments,)
        Number of values of each segment.
    """
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
