"""K-Means for very many customers: search for optima on a sample, then refine the best ones on all customers.

The result of K-Means depends on the initialisation, so the lab's recipe runs ten of them and keeps the best. Most of that time
is spent on initialisations that lose. Here they are eliminated early:

1. A weighted sample is drawn, with a higher inclusion probability for customers far from the mean (`coreset.py`). A uniform
   sample misses the tails, and K-Means has other optima on it.
2. K-Means runs from many initialisations on subsamples. The best few distinct optima of each subsample are refined on the whole
   sample (Bradley and Fayyad 1998). Different subsamples have different optima. This is wanted: tables with many equal
   customers have many optima with nearly equal SSE, and the best one is an optimum of only few subsamples.
3. The best optimum for each k initialises its neighbours: with one centroid added (as in global k-means, Likas, Vlassis and
   Verbeek 2003), and with one removed (iterative shrinking, Fränti and Virmajoki 2006).
4. The sample cannot rank the candidates: their SSEs differ by less than the sampling error. They therefore run Lloyd iterations
   on all customers. After each of the first two passes, candidates behind the best one by more than ELIMINATION_TOLERANCES are
   eliminated. The best one for each k iterates until the relative gain falls below MIN_RELATIVE_GAIN or `max_iter` is reached.

All customers are accessed only through `Chunks`, and one pass over them is one Lloyd iteration for every k. The models do
not depend on the number of threads, and depend on how the table is divided into parts only through rounding.

References
----------
Bradley and Fayyad (1998), Refining initial points for k-means clustering.
Likas, Vlassis and Verbeek (2003), The global k-means clustering algorithm.
Fränti and Virmajoki (2006), Iterative shrinking method for clustering problems.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from services.train.coreset import Sample, compute_moments, draw_sample
from services.train.parallel import Chunks, Rows

SUBSAMPLE_SIZE = 10_000  # expected number of customers
MIN_SUBSAMPLES = 5  # with more features than this, which means more optima, there is one subsample per feature
SUBSAMPLE_STARTS = 3  # for each initialisation of `n_init`, because they are cheap
SUBSAMPLE_MAX_ITER = 30
REFINE_MAX_ITER = 10  # on the whole sample
MAX_OPTIMA = 16  # per k, from all subsamples together
MAX_NEIGHBOURS = 5  # per k, with one centroid more, and as many with one less
MAX_CANDIDATES = 10  # per k, on all customers
SAMPLE_SSE_TOLERANCE = 0.006  # a candidate whose SSE on the sample is larger than the smallest by this fraction is dropped
ELIMINATION_TOLERANCES = (0.0005, 0.0)  # the same for the SSE on all customers, after the first and the second pass
MIN_CENTROID_DISTANCE = 0.2  # standard deviations: models are distinct if a centroid of one is farther from all of the other
MIN_RELATIVE_GAIN = 3e-6  # of the SSE: the iteration that gains less is the last one


class KMeansParameters(NamedTuple):
    """Parameters of scikit-learn's KMeans, apart from the number of clusters."""

    n_init: int
    max_iter: int
    random_state: int


def fit_from_sample(
    chunks: Chunks, pool: ThreadPoolExecutor, k_values: Sequence[int], parameters: KMeansParameters
) -> Iterator[KMeans]:
    """Fit K-Means for each k.

    Parameters
    ----------
    chunks : Chunks
        Access to the standardised features of all customers.
    pool : ThreadPoolExecutor
        Runs the fits on the sample.
    k_values : sequence of int
        Ascending.
    parameters : KMeansParameters
        `n_init` scales the number of initialisations on subsamples; `max_iter` bounds the iterations on all customers.

    Yields
    ------
    KMeans
        In the order of `k_values`, fitted, without `labels_`. `n_iter_` counts the iterations on all customers.
    """
    moments = compute_moments(chunks)
    n_subsamples = max(MIN_SUBSAMPLES, len(moments.sums))
    sample = draw_sample(chunks, moments, n_subsamples * SUBSAMPLE_SIZE, seed=parameters.random_state)
    n_starts = SUBSAMPLE_STARTS * parameters.n_init
    optima = _search(sample, n_subsamples, pool, k_values, n_starts, parameters.random_state)
    candidates = [model for models in optima.values() for model in _best_distinct(models, MAX_CANDIDATES, SAMPLE_SSE_TOLERANCE)]
    for model in candidates:
        del model.labels_  # those of the sample
        model.set_params(init="k-means++", **parameters._asdict())
        model.inertia_, model.n_iter_ = np.inf, 0  # on all customers

    for tolerance in ELIMINATION_TOLERANCES:
        _lloyd_step(chunks, candidates, moments.squares, MIN_RELATIVE_GAIN)
        best = {k: min((model for model in candidates if model.n_clusters == k), key=_inertia) for k in k_values}
        candidates = [model for model in candidates if model.inertia_ <= (1 + tolerance) * best[model.n_clusters].inertia_]
    running, pending = list(best.values()), deque(best.values())
    while pending:
        is_last = running and running[0].n_iter_ >= parameters.max_iter - 1
        moved = _lloyd_step(chunks, running, moments.squares, np.inf if is_last else MIN_RELATIVE_GAIN)
        running = [model for model, has_moved in zip(running, moved, strict=True) if has_moved]
        while pending and pending[0] not in running:
            yield pending.popleft()


def _search(
    sample: Sample, n_subsamples: int, pool: ThreadPoolExecutor, k_values: Sequence[int], n_starts: int, random_state: int
) -> dict[int, list[KMeans]]:
    """Find optima on the sample for each of `k_values`."""
    subsamples = [sample.subsample(number, SUBSAMPLE_SIZE) for number in range(n_subsamples)]
    points, weights = sample.weighted_points(n_subsamples * SUBSAMPLE_SIZE)
    generator = np.random.default_rng(random_state)
    seeds = generator.integers(2**32, size=n_starts).tolist()

    def fit_subsample(k: int, number: int) -> KMeans:
        model = KMeans(k, n_init=1, max_iter=SUBSAMPLE_MAX_ITER, random_state=seeds[number])
        return model.fit(subsamples[number % n_subsamples][0], sample_weight=subsamples[number % n_subsamples][1])

    def refine(centroids: Rows) -> KMeans:
        model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=REFINE_MAX_ITER)
        return model.fit(points, sample_weight=weights)

    def add_or_remove_centroid(model: KMeans) -> Iterator[Rows]:
        """Yield centroids with one more, a point drawn in proportion to its SSE, and with one less."""
        centroids = model.cluster_centers_
        cumulative_sse = np.cumsum(weights * np.square(points - centroids[model.labels_]).sum(axis=1))
        for position in np.searchsorted(cumulative_sse, cumulative_sse[-1] * generator.random(MAX_NEIGHBOURS)):
            yield np.vstack([centroids, points[position]])
        for number in generator.permutation(len(centroids))[:MAX_NEIGHBOURS]:
            yield np.delete(centroids, number, axis=0)

    subsample_fits = {k: pool.map(partial(fit_subsample, k), range(n_starts)) for k in k_values}
    refined = {}
    for k, fits in subsample_fits.items():
        models = list(fits)
        max_optima = max(1, MAX_OPTIMA // n_subsamples)
        distinct = [_best_distinct(models[number::n_subsamples], max_optima) for number in range(n_subsamples)]
        refined[k] = pool.map(refine, [model.cluster_centers_ for model in chain.from_iterable(distinct)])
    optima = {k: list(models) for k, models in refined.items()}
    neighbours = chain.from_iterable(add_or_remove_centroid(min(models, key=_inertia)) for models in optima.values())
    for model in pool.map(refine, [centroids for centroids in neighbours if len(centroids) in optima]):
        optima[model.n_clusters].append(model)
    return optima


def _best_distinct(models: Sequence[KMeans], max_models: int, sse_tolerance: float = np.inf) -> list[KMeans]:
    """Select the models with the smallest SSE, at most `sse_tolerance` above the smallest, leaving out near duplicates."""
    best: list[KMeans] = []
    for model in sorted(models, key=_inertia):
        is_close = not best or model.inertia_ <= (1 + sse_tolerance) * best[0].inertia_
        is_distinct = all(_centroid_distance(model, other) > MIN_CENTROID_DISTANCE for other in best)
        if len(best) < max_models and is_close and is_distinct:
            best.append(model)
    return best


def _centroid_distance(model: KMeans, other: KMeans) -> float:
    """Return the largest distance of a centroid of `model` to the nearest one of `other` (directed Hausdorff distance)."""
    return float(cdist(model.cluster_centers_, other.cluster_centers_).min(axis=1).max())


def _lloyd_step(chunks: Chunks, models: Sequence[KMeans], total_squares: float, min_relative_gain: float) -> list[bool]:
    """Update each model's SSE, and move its centroids to their means unless the SSE fell by less than the relative gain.

    Returns which models have moved.
    """
    moved = []
    for model, partial_sums in zip(models, zip(*chunks.map(partial(_partial_sums, models=models)), strict=True), strict=True):
        counts, sums = (sum(column) for column in zip(*partial_sums, strict=True))
        centroids, previous_sse = model.cluster_centers_, model.inertia_
        model.inertia_ = float(total_squares + counts @ np.square(centroids).sum(axis=1) - 2 * (centroids * sums).sum())
        model.n_iter_ += 1
        moved.append(previous_sse - model.inertia_ > min_relative_gain * model.inertia_)
        if moved[-1]:
            has_customers = counts[:, np.newaxis] > 0
            model.cluster_centers_ = np.divide(sums, counts[:, np.newaxis], out=centroids.copy(), where=has_customers)
    return moved


def _partial_sums(rows: Rows, _: int, *, models: Sequence[KMeans]) -> list[tuple[NDArray[np.int64], Rows]]:
    """Count and add up the rows nearest to each centroid, for every model."""
    counts_and_sums = []
    for model in models:
        labels = model.predict(rows)
        membership = csr_array((np.ones(len(rows)), labels, np.arange(len(rows) + 1)), shape=(len(rows), model.n_clusters))
        counts_and_sums.append((np.bincount(labels, minlength=model.n_clusters), membership.T @ rows))
    return counts_and_sums


def _inertia(model: KMeans) -> float:
    return float(model.inertia_)
