"""The value of segments: their share of the total of each amount, next to their share of the customers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import ColumnValue
from services.segment.profiles import has_index

_MAX_VALUE = 1e100


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
