"""The preparation of customers for K-Means, fitted once and then applied to all customers.

The stage transform fits and pickles a `Preparation`; evaluate and segment apply it to other customers. It is part of the
contract because a pickle is readable only if its class can be imported, and no image contains another stage's code.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Interval = tuple[float, float]
"""Smallest and largest value, both included, in the units of the table."""

_EVERYTHING = (-math.inf, math.inf)

_DECIMAL = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*?)0*)?", re.ASCII)


def group_keys(groups: pd.Series[Any]) -> pd.Series[str]:
    """Return the groups of customers as texts that are equal if the groups are; NaN for a missing group.

    Decimal numbers compare as numbers, whatever the dtype and spelling: `1`, `1.0`, `01` and the float 1.0 are one group, and
    so are the codes `007` and `7`. Text that is not a plain decimal number (`1E5`, `north`) compares as text, without
    surrounding blanks.

    Parameters
    ----------
    groups : Series of shape (n_customers,)
    """
    return groups.map({group: _group_key(group) for group in groups.dropna().unique()}).astype("str")


def _group_key(group: Any) -> str | None:
    text = str(group).strip()
    number = _DECIMAL.fullmatch(format(Decimal(repr(float(group))), "f") if isinstance(group, float) else text)
    if not number or not any(character.isdigit() for character in text):
        return text or None
    sign, whole, fraction = number.groups()
    digits = f"{whole or 0}.{fraction}" if fraction else whole or "0"
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def top_reasons(reasons: Counter[str], max_reasons: int = 10) -> dict[str, int]:
    """Sort reasons by their counts, largest first; all from number `max_reasons` on are counted as "other reasons"."""
    counts = reasons.most_common()
    if len(counts) > max_reasons:
        counts = [*counts[: max_reasons - 1], ("other reasons", sum(count for _, count in counts[max_reasons - 1 :]))]
    return dict(counts)


class GroupCounts(NamedTuple):
    """Numbers of customers without a known group; they are standardised like all customers together."""

    missing: int
    """Customers without a group."""
    unknown: int
    """Customers in a group that is unknown from training."""


@dataclass(frozen=True)
class Preparation:
    """A fitted preparation; tables are DataFrames of shape (n_customers, n_columns) with `columns` among theirs."""

    feature_columns: tuple[str, ...]
    log_columns: tuple[str, ...]
    """Features that are replaced by log(1 + value), and therefore must not be negative."""
    fences: dict[str, Interval]
    """Values beyond which a customer is an outlier in a feature; empty if outliers are kept."""
    drops_outliers: bool
    """Whether customers beyond a fence are dropped; otherwise `pipeline` clips the value."""
    training_range: dict[str, Interval]
    """Smallest and largest value of each feature among the customers it was fitted to."""
    pipeline: Any
    """scikit-learn Pipeline from features in the units of the table to standardised ones, fitted to all customers together."""
    group_column: str | None
    """Column whose groups are standardised separately."""
    group_pipelines: dict[Any, Any]
    """A Pipeline for each group that is large enough; `pipeline` serves all others. Its keys are those of `group_keys`; in
    older preparations they are the values of the table."""
    pooled_groups: tuple[str, ...] = ()
    """The other groups of training: too small, or with a feature that has one value only. Empty in older preparations."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return self.feature_columns if self.group_column is None else (*self.feature_columns, self.group_column)

    def fits(self, customers: pd.DataFrame) -> pd.Series[bool]:
        """Mark the customers that can be transformed.

        Parameters
        ----------
        customers : DataFrame of shape (n_customers, n_columns)

        Returns
        -------
        Series of bool of shape (n_customers,)
        """
        limits = [self._limits(name) for name in self.feature_columns]
        values = customers[list(self.feature_columns)]
        # A missing value is neither above nor below anything, so it never fits.
        inside = values.ge([low for low, _ in limits]) & values.le([high for _, high in limits])
        return inside.all(axis="columns")

    def complaints(self, customers: pd.DataFrame) -> list[str]:
        """List for each customer the reasons why it cannot be transformed; an empty text if it can."""
        rows = customers[list(self.feature_columns)].itertuples(index=False, name=None)
        return ["; ".join(self._complaints(row)) for row in rows]

    def transform(self, customers: pd.DataFrame) -> NDArray[np.float64]:
        """Standardise the features.

        A customer whose group is missing, unknown or was too small is standardised like all customers together.

        Parameters
        ----------
        customers : DataFrame of shape (n_customers, n_columns)
            All of them can be transformed; see `fits`.

        Returns
        -------
        ndarray of shape (n_customers, n_features)
        """
        # K-Means needs row-contiguous features, but a table is column-contiguous. `astype` sets NumPy's own dtype: an unpickled
        # dtype makes a pickle with other bytes than an equal new one.
        values = customers[list(self.feature_columns)].to_numpy().astype("float64", order="C")
        standardised: NDArray[np.float64] = self.pipeline.transform(values)
        if self.group_column is not None:
            pipelines = self._pipelines_by_key()
            keys = group_keys(customers[self.group_column]).reset_index(drop=True)
            for key, rows in keys.groupby(keys, sort=False).indices.items():
                if key in pipelines:
                    standardised[rows] = pipelines[key].transform(values[rows])
        return standardised

    def count_groups(self, customers: pd.DataFrame) -> GroupCounts:
        """Count, among the customers that can be transformed, those whose group is missing or unknown from training."""
        if self.group_column is None:
            return GroupCounts(0, 0)
        keys = group_keys(customers.loc[self.fits(customers), self.group_column])
        missing = int(keys.isna().sum())
        known = int(keys.isin([*self._pipelines_by_key(), *self.pooled_groups]).sum())
        return GroupCounts(missing, len(keys) - missing - known)

    def outside_training_range(self, customers: pd.DataFrame) -> pd.DataFrame:
        """Mark the features outside the training range: booleans of shape (n_customers, n_features)."""
        values = customers[list(self.feature_columns)]
        ranges = [self.training_range[name] for name in self.feature_columns]
        return values.lt([low for low, _ in ranges]) | values.gt([high for _, high in ranges])

    def _pipelines_by_key(self) -> dict[str, Any]:
        # Groups that equal their key come last and win: older preparations may have both `1` and `1.0`.
        spellings = sorted(self.group_pipelines, key=lambda group: group == _group_key(group))
        return {_group_key(group) or "": self.group_pipelines[group] for group in spellings}

    def _limits(self, name: str) -> Interval:
        low, high = self._fence(name)
        return (max(low, 0.0) if name in self.log_columns else low), high

    def _fence(self, name: str) -> Interval:
        return self.fences.get(name, _EVERYTHING) if self.drops_outliers else _EVERYTHING

    def _complaints(self, row: tuple[float, ...]) -> Iterator[str]:
        for name, value in zip(self.feature_columns, row, strict=True):
            low, high = self._fence(name)
            if math.isnan(value):
                yield f"no value for {name}"
            elif value < 0 and name in self.log_columns:
                yield f"{name} is negative, which has no logarithm"
            elif value < low:
                yield f"{name} is below the outlier fence of {low:,.6g}"
            elif value > high:
                yield f"{name} is above the outlier fence of {high:,.6g}"
