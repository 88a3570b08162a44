"""K-Means on very many customers: look for optima on a sample, finish the best of them on everybody.

Where K-Means ends depends on where it starts, so the lab starts ten times and keeps the best. Most of that time goes into
starts that lose. Here they lose early:

1. A sample is drawn in which far-off customers have their share of the sum of squares, each with a weight that makes up for it
   (the lightweight coreset of Bachem, Lucic and Krause 2018). A uniform sample misses the tails, and prefers other optima.
2. K-Means is started many times on slices of the sample, and the best few different ends of each slice take a few iterations on
   the whole of it (refining initial points, Bradley and Fayyad 1998). Every slice has optima of its own, which is wanted:
   where many customers are equal there are many optima close to each other, and the best one is on few samples an optimum.
3. Which is the best one on all customers, no sample tells: their SSE differ by less than its error. So they race on all
   customers. Who falls behind is out; the winner goes on alone, until an iteration gains next to nothing.

All customers are seen only through `apply`, part by part, and one pass over them is an iteration for every k. The models do not
depend on the number of threads, and on how the table is cut into parts only in their last digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from services.train.coreset import draw_sample
from services.train.threads import Apply, Rows

SLICES, SLICE = 5, 12_000  # a slice has so many customers, on average
STARTS = 3  # for each initialisation that is asked for, because they cost so little
START_ITERATIONS, REFINEMENTS = 15, 3  # at most, on a slice and on the whole sample
LEAST_ENDS, LEAST_RACERS = 3, 5  # of a slice; of all. For small k, which cost less, there are more
BEHIND = (0.004, 0.001, 0.0)  # who has a larger SSE than the first one by this share after each pass is out
DIFFERENT = 0.05  # standard deviations: two models differ if a centroid of one is farther than this from all of the other
LEAST_GAIN = 1e-6  # of the SSE: an iteration that gains less is the last one


def fit_from_sample(
    apply: Apply, pool: ThreadPoolExecutor, k_values: Sequence[int], *, n_init: int, max_iter: int, random_state: int
) -> Iterator[KMeans]:
    """Fit K-Means for each of `k_values`, ascending, and yield the models in this order.

    They are fitted like any other but have no `labels_`. `n_iter_` counts the iterations on all customers.
    """
    sample, squares = draw_sample(apply, SLICES * SLICE, seed=random_state)
    slices, (points, weights) = [sample.slice(number, SLICE) for number in range(SLICES)], sample.whole(SLICES * SLICE)
    seeds = np.random.default_rng(random_state).integers(2**32, size=STARTS * n_init).tolist()

    def start(k: int, number: int) -> KMeans:
        model = KMeans(k, n_init=1, max_iter=START_ITERATIONS, random_state=seeds[number])
        return model.fit(slices[number % SLICES][0], sample_weight=slices[number % SLICES][1])

    def refine(model: KMeans) -> KMeans:
        again = KMeans(model.n_clusters, init=model.cluster_centers_, n_init=1, max_iter=REFINEMENTS)
        return again.fit(points, sample_weight=weights)

    started = {k: pool.map(partial(start, k), range(len(seeds))) for k in k_values}
    refined = {}
    for k, models in started.items():
        ends = list(models)
        best_ends = [_best_different(ends[number::SLICES], max(LEAST_ENDS, 12 // k)) for number in range(SLICES)]
        refined[k] = pool.map(refine, chain.from_iterable(best_ends))
    racers = [model for k, models in refined.items() for model in _best_different(models, max(LEAST_RACERS, 30 // k))]
    for model in racers:
        del model.labels_  # those of the sample
        model.set_params(init="k-means++", n_init=n_init, max_iter=max_iter, random_state=random_state)
        model.inertia_, model.n_iter_ = np.inf, 0  # on all customers

    for behind in BEHIND:
        _iterate(apply, racers, squares, LEAST_GAIN)
        best = {k: min((model for model in racers if model.n_clusters == k), key=_inertia) for k in k_values}
        racers = [model for model in racers if model.inertia_ <= (1 + behind) * best[model.n_clusters].inertia_]
    running, waiting = list(best.values()), deque(best.values())
    while waiting:
        last = running and running[0].n_iter_ >= max_iter - 1
        moved = _iterate(apply, running, squares, np.inf if last else LEAST_GAIN)
        running = [model for model, has_moved in zip(running, moved, strict=True) if has_moved]
        while waiting and waiting[0] not in running:
            yield waiting.popleft()


def _best_different(models: Iterable[KMeans], most: int) -> list[KMeans]:
    best: list[KMeans] = []
    for model in sorted(models, key=_inertia):
        if len(best) < most and all(_distance(model, other) > DIFFERENT for other in best):
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
