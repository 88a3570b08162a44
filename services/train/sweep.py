"""Fit K-Means for every number of clusters, as the lab does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from services.contract.errors import DataError


class Fit(NamedTuple):
    """K-Means for one k. `seconds` is what the fit took."""

    k: int
    model: KMeans
    seconds: float

    @property
    def sse(self) -> float:
        """Sum of squared distances of the customers to their centroids, in squared standard deviations."""
        return float(self.model.inertia_)


def sweep(
    features: NDArray[np.float64], k_values: Sequence[int], *, n_init: int, max_iter: int, random_state: int
) -> Iterator[Fit]:
    """Fit K-Means with k-means++ initialisation for each k, yielding each fit as it is ready.

    Parameters
    ----------
    features : array of shape (n_customers, n_features), standardised

    Raises DataError where there are fewer distinct customers than the largest k, since some cluster would be empty.
    """
    n_distinct = _count_distinct(features, max(k_values))
    if n_distinct < max(k_values):
        raise DataError(
            f"the features have {n_distinct} distinct rows, k = {max(k_values)} needs as many or more: "
            "lower k_values or bring more customers"
        )
    for k in k_values:
        begin = time.perf_counter()
        model = KMeans(k, init="k-means++", n_init=n_init, max_iter=max_iter, random_state=random_state)
        model.fit(features)
        yield Fit(k, model, time.perf_counter() - begin)


def _count_distinct(features: NDArray[np.float64], enough: int) -> int:
    """Count distinct rows, looking at no more than it takes to find `enough` of them."""
    head = len(np.unique(features[: 100 * enough], axis=0))
    return head if head >= enough else len(np.unique(features, axis=0))
