"""K-Means on very many customers: look for optima on a sample, finish the best of them on everybody.

Where K-Means ends depends on where it starts, so the lab starts ten times and keeps the best. Most of that time goes into
starts that lose. Here they lose early:

1. A sample is drawn in which far-off customers have their share of the sum of squares, each with a weight that makes up for it
   (the lightweight coreset of Bachem, Lucic and Krause 2018). A uniform sample misses the tails, and prefers other optima.
2. K-Means is started many times on slices of the sample, and the best few different ends of each slice go on on the whole of it
   (refining initial points, Bradley and Fayyad 1998). Every slice has optima of its own, which is wanted: where many
   customers are equal there are many optima close to each other, and the best one is on few samples an optimum.
3. The best for one k leads to others for its neighbours: with one more centroid (as in global k-means, Likas, Vlassis and
   Verbeek 2003), and with one less (iterative shrinking, Fränti and Virmajoki 2006).
4. Which is the best one on all customers, no sample tells: their SSE differ by less than its error. So they race on all
   customers. Who falls behind is out; the winner goes on alone, until an iteration gains next to nothing.

All customers are seen only through `apply`, part by part, and one pass over them is an iteration for every k. The models do not
depend on the number of threads, and on how the table is cut into parts only in their last digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from services.train.coreset import Sample, draw_sample, measure
from services.train.parallel import Apply, Rows

SLICE, MIN_SUBSAMPLES = 10_000, 5  # customers on average; with many features, which have more optima, a slice for each of them
STARTS = 3  # for each initialisation that is asked for, because they cost so little
START_ITERATIONS, REFINEMENTS = 30, 10  # at most, on a slice and on the whole sample
ENDS, NEIGHBOURS, RACERS = 16, 5, 10  # of all slices together; of the best for another k, with more or with less; of all
SAMPLE_SSE_TOLERANCE = 0.006  # who has a larger SSE on the sample than the best one by this share does not race
BEHIND = (0.0005, 0.0)  # and who has one on all customers by this share, after each pass of the race, is out
DIFFERENT = 0.2  # standard deviations: two models differ if a centroid of one is farther than this from all of the other
MIN_RELATIVE_GAIN = 3e-6  # of the SSE: an iteration that gains less is the last one


def fit_from_sample(
    apply: Apply, pool: ThreadPoolExecutor, k_values: Sequence[int], *, n_init: int, max_iter: int, random_state: int
) -> Iterator[KMeans]:
    """Fit K-Means for each of `k_values`, ascending, and yield the models in this order.

    They are fitted like any other but have no `labels_`. `n_iter_` counts the iterations on all customers.
    """
    everybody = measure(apply)
    n_slices = max(MIN_SUBSAMPLES, len(everybody.sums))
    sample = draw_sample(apply, everybody, n_slices * SLICE, seed=random_state)
    found = _search(sample, n_slices, pool, k_values, STARTS * n_init, random_state)
    racers = [model for models in found.values() for model in _best_different(models, RACERS, SAMPLE_SSE_TOLERANCE)]
    for model in racers:
        del model.labels_  # those of the sample
        model.set_params(init="k-means++", n_init=n_init, max_iter=max_iter, random_state=random_state)
        model.inertia_, model.n_iter_ = np.inf, 0  # on all customers

    for behind in BEHIND:
        _iterate(apply, racers, everybody.squares, MIN_RELATIVE_GAIN)
        best = {k: min((model for model in racers if model.n_clusters == k), key=_inertia) for k in k_values}
        racers = [model for model in racers if model.inertia_ <= (1 + behind) * best[model.n_clusters].inertia_]
    running, waiting = list(best.values()), deque(best.values())
    while waiting:
        last = running and running[0].n_iter_ >= max_iter - 1
        moved = _iterate(apply, running, everybody.squares, np.inf if last else MIN_RELATIVE_GAIN)
        running = [model for model, has_moved in zip(running, moved, strict=True) if has_moved]
        while waiting and waiting[0] not in running:
            yield waiting.popleft()


def _search(
    sample: Sample, n_slices: int, pool: ThreadPoolExecutor, k_values: Sequence[int], n_starts: int, random_state: int
) -> dict[int, list[KMeans]]:
    """Find optima on a sample for each of `k_values`."""
    slices, (points, weights) = [sample.slice(number, SLICE) for number in range(n_slices)], sample.whole(n_slices * SLICE)
    generator = np.random.default_rng(random_state)
    seeds = generator.integers(2**32, size=n_starts).tolist()

    def start(k: int, number: int) -> KMeans:
        model = KMeans(k, n_init=1, max_iter=START_ITERATIONS, random_state=seeds[number])
        return model.fit(slices[number % n_slices][0], sample_weight=slices[number % n_slices][1])

    def refine(centroids: Rows) -> KMeans:
        model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=REFINEMENTS)
        return model.fit(points, sample_weight=weights)

    def neighbours(model: KMeans) -> Iterator[Rows]:
        """Some with one centroid more, a customer whom the others leave far off, and some with one less."""
        centroids = model.cluster_centers_
        misses = np.cumsum(weights * np.square(points - centroids[model.labels_]).sum(axis=1))
        for place in np.searchsorted(misses, misses[-1] * generator.random(NEIGHBOURS)):
            yield np.vstack([centroids, points[place]])
        for number in generator.permutation(len(centroids))[:NEIGHBOURS]:
            yield np.delete(centroids, number, axis=0)

    started = {k: pool.map(partial(start, k), range(n_starts)) for k in k_values}
    refined = {}
    for k, models in started.items():
        ends = list(models)
        best_ends = [_best_different(ends[number::n_slices], max(1, ENDS // n_slices)) for number in range(n_slices)]
        refined[k] = pool.map(refine, [model.cluster_centers_ for model in chain.from_iterable(best_ends)])
    found = {k: list(models) for k, models in refined.items()}
    next_to_best = chain.from_iterable(neighbours(min(models, key=_inertia)) for models in found.values())
    for model in pool.map(refine, [centroids for centroids in next_to_best if len(centroids) in found]):
        found[model.n_clusters].append(model)
    return found


def _best_different(models: Sequence[KMeans], most: int, in_reach: float = np.inf) -> list[KMeans]:
    best: list[KMeans] = []
    for model in sorted(models, key=_inertia):
        is_near = not best or model.inertia_ <= (1 + in_reach) * best[0].inertia_
        if len(best) < most and is_near and all(_distance(model, other) > DIFFERENT for other in best):
            best.append(model)
    return best


def _distance(model: KMeans, other: KMeans) -> float:
    return float(cdist(model.cluster_centers_, other.cluster_centers_).min(axis=1).max())


def _iterate(apply: Apply, models: Sequence[KMeans], squares: float, least_gain: float) -> list[bool]:
    """Find each model's SSE, and move its centroids to the means of their customers unless the last move gained too little.

    Returns which models have moved.
    """
    moved = []
    for model, parts in zip(models, zip(*apply(partial(_assign, models=models)), strict=True), strict=True):
        counts, sums = (sum(column) for column in zip(*parts, strict=True))
        centroids, before = model.cluster_centers_, model.inertia_
        model.inertia_ = float(squares + counts @ np.square(centroids).sum(axis=1) - 2 * (centroids * sums).sum())
        model.n_iter_ += 1
        moved.append(before - model.inertia_ > least_gain * model.inertia_)
        if moved[-1]:
            has_customers = counts[:, np.newaxis] > 0
            model.cluster_centers_ = np.divide(sums, counts[:, np.newaxis], out=centroids.copy(), where=has_customers)
    return moved


def _assign(rows: Rows, _: int, *, models: Sequence[KMeans]) -> list[tuple[NDArray[np.int64], Rows]]:
    """Count and add up the rows that are nearest to each centroid, for every model."""
    found = []
    for model in models:
        labels = model.predict(rows)
        membership = csr_array((np.ones(len(rows)), labels, np.arange(len(rows) + 1)), shape=(len(rows), model.n_clusters))
        found.append((np.bincount(labels, minlength=model.n_clusters), membership.T @ rows))
    return found


def _inertia(model: KMeans) -> float:
    return float(model.inertia_)
