"""Fit K-Means for every number of clusters: with the lab's recipe, or from a sample if there are very many customers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from services.train.parallel import Chunks, divide_into_chunks, single_threaded_pool
from services.train.sampled_kmeans import KMeansParameters, fit_from_sample
from stagekit.errors import DataError

MAX_EXACT_CUSTOMERS = 100_000


class Strategy(NamedTuple):
    """How K-Means is fitted."""

    name: Literal["exact", "sample"]
    reason: str
    """One phrase for people."""


class Fit(NamedTuple):
    """K-Means for one k."""

    k: int
    model: KMeans
    seconds: float
    """Time from the start of the sweep until this fit was ready."""
    seconds_left: float
    """Estimated time for the remaining k; 0 if all k are finished together."""

    @property
    def sse(self) -> float:
        """Sum of squared distances of the customers to their centroids, in squared standard deviations."""
        return float(self.model.inertia_)


def choose_strategy(requested: Literal["auto", "exact", "sample"], n_customers: int) -> Strategy:
    """Return the requested strategy; for `auto`, the exact one up to MAX_EXACT_CUSTOMERS, for which it takes seconds."""
    if requested != "auto":
        return Strategy(requested, "requested")
    if n_customers <= MAX_EXACT_CUSTOMERS:
        return Strategy("exact", f"{n_customers:,} customers are at most {MAX_EXACT_CUSTOMERS:,}")
    return Strategy("sample", f"{n_customers:,} customers are more than {MAX_EXACT_CUSTOMERS:,}")


def sweep(
    parts: Sequence[NDArray[np.float64]],
    k_values: Sequence[int],
    parameters: KMeansParameters,
    *,
    strategy: Literal["exact", "sample"] = "exact",
    chunks: Chunks | None = None,
) -> Iterator[Fit]:
    """Fit K-Means with k-means++ initialisation for each k.

    With `exact`, a fit is scikit-learn's fit to all customers, `labels_` included. With `sample`, it is an optimum on all
    customers too, but found from a sample (`sampled_kmeans.py`), and has no `labels_`.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_part, n_features)
        Standardised features; concatenated, they are those of all customers.
    k_values : sequence of int
        Ascending.
    parameters : KMeansParameters
    strategy : {"exact", "sample"}
    chunks : Chunks or None
        Access to customers that are kept on other processes; `sample` then needs no `parts`.

    Yields
    ------
    Fit
        In the order of `k_values`, each as soon as it is ready.

    Raises
    ------
    DataError
        If there are fewer distinct customers than the largest k, since some cluster would be empty.
    """
    begin = time.perf_counter()
    with single_threaded_pool(max_workers=len(k_values) if strategy == "exact" else None) as pool:
        chunks = chunks or divide_into_chunks(parts, pool)
        _require_distinct_rows(chunks, max(k_values))
        if strategy == "sample":
            models = fit_from_sample(chunks, pool, k_values, parameters)
        else:
            features = parts[0] if len(parts) == 1 else np.concatenate(parts)

            def fit(k: int) -> KMeans:
                return KMeans(k, init="k-means++", **parameters._asdict()).fit(features)

            models = pool.map(fit, k_values)
        for k, model in zip(k_values, models, strict=True):
            seconds = time.perf_counter() - begin
            # The time for one k grows with k.
            remaining = sum(other for other in k_values if other > k) / sum(other for other in k_values if other <= k)
            yield Fit(k, model, seconds, seconds * remaining if strategy == "exact" else 0.0)


def _require_distinct_rows(chunks: Chunks, min_distinct: int) -> None:
    n_distinct = len(np.unique(np.concatenate(chunks.map(partial(_find_distinct, min_distinct=min_distinct))), axis=0))
    if n_distinct < min_distinct:
        raise DataError(
            f"the features have {n_distinct} distinct rows, k = {min_distinct} needs as many or more: "
            "lower k_values or bring more customers"
        )


def _find_distinct(rows: NDArray[np.float64], _: int, *, min_distinct: int) -> NDArray[np.float64]:
    """Find distinct rows; stops after the first 100 * `min_distinct` rows if these contain enough of them."""
    head = np.unique(rows[: 100 * min_distinct], axis=0)
    return head if len(head) >= min_distinct else np.unique(rows, axis=0)
