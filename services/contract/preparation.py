"""What is done to customers before K-Means sees them, fitted once and then the same for everybody.

The stage transform fits and pickles a `Preparation`; evaluate and segment apply it to other customers. It stands here because
a pickle can only be read where its class is, and no image carries another stage's code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Interval = tuple[float, float]
"""Smallest and largest value, both included, in the units of the table."""

_EVERYTHING = (-math.inf, math.inf)


@dataclass(frozen=True)
class Preparation:
    """A fitted preparation; tables are DataFrames of shape (n_customers, n_columns) with `columns` among theirs."""

    feature_columns: tuple[str, ...]
    log_columns: tuple[str, ...]
    """Features that are replaced by log(1 + value), and so must not be negative."""
    fences: dict[str, Interval]
    """Where the outliers of a feature begin; empty where they are kept as they are."""
    drops_outliers: bool
    """Whether a customer beyond a fence does not fit; otherwise `pipeline` clips the value."""
    training_range: dict[str, Interval]
    """Smallest and largest value of each feature among the customers it was fitted to."""
    pipeline: Any
    """scikit-learn Pipeline from features in the units of the table to standardised ones, fitted to all customers together."""
    group_column: str | None
    """Column whose groups are standardised each by itself."""
    group_pipelines: dict[Any, Any]
    """A Pipeline for each group that is large enough; `pipeline` serves all others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table needs."""
        return self.feature_columns if self.group_column is None else (*self.feature_columns, self.group_column)

    def fits(self, customers: pd.DataFrame) -> pd.Series[bool]:
        """Tell which customers can be transformed."""
        limits = [self._limits(name) for name in self.feature_columns]
        values = customers[list(self.feature_columns)]
        # A missing value is neither above nor below anything, so it never fits.
        inside = values.ge([low for low, _ in limits]) & values.le([high for _, high in limits])
        return inside.all(axis="columns")

    def complaints(self, customers: pd.DataFrame) -> list[str]:
        """Say for each customer why it does not fit; empty for one that does."""
        rows = customers[list(self.feature_columns)].itertuples(index=False, name=None)
        return ["; ".join(self._complaints(row)) for row in rows]

    def transform(self, customers: pd.DataFrame) -> NDArray[np.float64]:
        """Give the standardised features, shape (n_customers, n_features), of customers who all fit.

        A customer whose group is missing, unknown or was too small is standardised like all customers together.
        """
        # K-Means wants each customer's features side by side in memory, a table holds each column in one piece. And by `astype`
        # they get NumPy's own dtype: one that came out of a pickle makes a pickle with other bytes than an equal one.
        values = customers[list(self.feature_columns)].to_numpy().astype("float64", order="C")
        standardised: NDArray[np.float64] = self.pipeline.transform(values)
        if self.group_column is not None:
            for group, rows in customers.groupby(self.group_column, sort=False).indices.items():
                if group in self.group_pipelines:
                    standardised[rows] = self.group_pipelines[group].transform(values[rows])
        return standardised

    def outside_training_range(self, customers: pd.DataFrame) -> pd.DataFrame:
        """Tell which features lie beyond anything seen in training: booleans of shape (n_customers, n_features)."""
        values = customers[list(self.feature_columns)]
        ranges = [self.training_range[name] for name in self.feature_columns]
        return values.lt([low for low, _ in ranges]) | values.gt([high for _, high in ranges])

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
