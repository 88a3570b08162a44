"""Fit K-Means for every number of clusters: as the lab does, or from a sample where there are very many customers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from services.train.parallel import Apply, map_chunks_in_threads, single_threaded_pool
from services.train.sampled_kmeans import fit_from_sample
from stagekit.errors import DataError

EXACT_CUSTOMERS = 100_000


class Strategy(NamedTuple):
    name: Literal["exact", "sample"]
    reason: str
    """One phrase for people."""


class Fit(NamedTuple):
    """K-Means for one k."""

    k: int
    model: KMeans
    seconds: float
    """How long after the start of the sweep it was ready."""
    seconds_left: float
    """About how long the rest will take; 0 where all k are finished together."""

    @property
    def sse(self) -> float:
        """Sum of squared distances of the customers to their centroids, in squared standard deviations."""
        return float(self.model.inertia_)


def choose_strategy(asked: Literal["auto", "exact", "sample"], n_customers: int) -> Strategy:
    """Take the strategy that is asked for; left to itself, the lab's recipe for as long as it takes seconds."""
    if asked != "auto":
        return Strategy(asked, "it was asked for")
    if n_customers <= EXACT_CUSTOMERS:
        return Strategy("exact", f"{n_customers:,} customers are at most {EXACT_CUSTOMERS:,}")
    return Strategy("sample", f"{n_customers:,} customers are more than {EXACT_CUSTOMERS:,}")


def sweep(
    parts: Sequence[NDArray[np.float64]],
    k_values: Sequence[int],
    *,
    strategy: Literal["exact", "sample"] = "exact",
    n_init: int,
    max_iter: int,
    random_state: int,
    apply: Apply | None = None,
) -> Iterator[Fit]:
    """Fit K-Means with k-means++ initialisation for each k, yielding each fit as it is ready, in the order of `k_values`.

    With `exact`, a fit is what scikit-learn makes of all customers, `labels_` included. With `sample` it is an optimum on all
    customers too, but found from a sample (`sampling.py`), and has no `labels_`.

    Parameters
    ----------
    parts : arrays of shape (n_part, n_features), standardised; one below the other they are all customers
    k_values : ascending
    apply : gives access to the customers where they are somewhere else; `sample` then needs no `parts`

    Raises DataError where there are fewer distinct customers than the largest k, since some cluster would be empty.
    """
    begin = time.perf_counter()
    with single_threaded_pool(most=len(k_values) if strategy == "exact" else None) as pool:
        apply = apply or map_chunks_in_threads(parts, pool)
        _refuse_too_few(apply, max(k_values))
        if strategy == "sample":
            models = fit_from_sample(apply, pool, k_values, n_init=n_init, max_iter=max_iter, random_state=random_state)
        else:
            features = parts[0] if len(parts) == 1 else np.concatenate(parts)

            def fit(k: int) -> KMeans:
                return KMeans(k, init="k-means++", n_init=n_init, max_iter=max_iter, random_state=random_state).fit(features)

            models = pool.map(fit, k_values)
        for k, model in zip(k_values, models, strict=True):
            seconds = time.perf_counter() - begin
            # The time for one k grows with k.
            left = sum(other for other in k_values if other > k) / sum(other for other in k_values if other <= k)
            yield Fit(k, model, seconds, seconds * left if strategy == "exact" else 0.0)


def _refuse_too_few(apply: Apply, enough: int) -> None:
    n_distinct = len(np.unique(np.concatenate(apply(partial(_find_distinct, enough=enough))), axis=0))
    if n_distinct < enough:
        raise DataError(
            f"the features have {n_distinct} distinct rows, k = {enough} needs as many or more: "
            "lower k_values or bring more customers"
        )


def _find_distinct(rows: NDArray[np.float64], _: int, *, enough: int) -> NDArray[np.float64]:
    """Find distinct rows, looking at no more than it takes to find `enough` of them."""
    head = np.unique(rows[: 100 * enough], axis=0)
    return head if len(head) >= enough else np.unique(rows, axis=0)
