"""K-Means on very many customers: look for optima on a sample, finish the best of them on everybody.

Where K-Means ends depends on where it starts, so the lab starts ten times and keeps the best. Most of that time goes into
starts that lose. Here they lose early:

1. A sample is drawn in which far-off customers have their share of the sum of squares, each with a weight that makes up for it
   (the lightweight coreset of Bachem, Lucic and Krause 2018). A uniform sample misses the tails, and prefers other optima.
2. K-Means is started many times on a part of the sample. The best few different optima are refined on the whole sample
   (refining initial points, Bradley and Fayyad 1998). Which of them is the best one on all customers, no sample tells: their
   SSE differ by less than its error.
3. So they race on all customers. Who falls behind is out at once; after RACE_PASSES iterations the first one goes on
   alone, until an iteration gains next to nothing.

All customers are seen only through `apply`, part by part, and one pass over them is an iteration for every k. The models do not
depend on the number of threads, and on how the table is cut into parts only in their last digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from services.train.threads import Apply, Rows

SAMPLE, SMALL_SAMPLE = 60_000, 20_000  # customers, on average
STARTS = 3  # for each initialisation that is asked for, because they cost so little
OPTIMA, RACERS = 8, 5  # how many go on to the whole sample, and to all customers
RACE_PASSES, BEHIND = 3, 0.005  # BEHIND the first one, as a share of its SSE
DIFFERENT = 0.05  # standard deviations: two optima differ if a centroid of one is farther than this from all of the other
LEAST_GAIN = 1e-6  # of the SSE: an iteration that gains less is the last one


class _Moments(NamedTuple):
    customers: int
    sums: NDArray[np.float64]
    squares: float


class _Sample(NamedTuple):
    points: Rows
    chance: NDArray[np.float64]
    """How likely each was to be drawn, for a sample of one customer."""
    lot: NDArray[np.float64]

    def weighted(self, size: int) -> tuple[Rows, NDArray[np.float64]]:
        """The points that a sample of `size` has, and for how many customers each of them stands."""
        drawn = self.lot < size * self.chance
        return self.points[drawn], 1 / np.minimum(size * self.chance[drawn], 1)


def fit_from_sample(
    apply: Apply, pool: ThreadPoolExecutor, k_values: Sequence[int], *, n_init: int, max_iter: int, random_state: int
) -> Iterator[KMeans]:
    """Fit K-Means for each of `k_values`, ascending, and yield the models in this order.

    They are fitted like any other but have no `labels_`. `n_iter_` counts the iterations on all customers.
    """
    customers, sums, squares = (sum(column) for column in zip(*apply(_moments), strict=True))
    total = _Moments(customers, sums, squares)
    sample = _Sample(*map(np.concatenate, zip(*apply(partial(_draw, total=total, seed=random_state)), strict=True)))
    small, whole = sample.weighted(SMALL_SAMPLE), sample.weighted(SAMPLE)

    def start(k: int, seed: int) -> KMeans:
        return KMeans(k, n_init=1, max_iter=max_iter, random_state=seed).fit(small[0], sample_weight=small[1])

    def refine(model: KMeans) -> KMeans:
        again = KMeans(model.n_clusters, init=model.cluster_centers_, n_init=1, max_iter=max_iter)
        return again.fit(whole[0], sample_weight=whole[1])

    seeds = np.random.default_rng(random_state).integers(2**32, size=STARTS * n_init).tolist()
    started = [pool.map(start, repeat(k), seeds) for k in k_values]
    refined = [pool.map(refine, _best_different(models, OPTIMA)) for models in started]
    racers = [model for models in refined for model in _best_different(models, RACERS)]
    for model in racers:
        del model.labels_  # those of the sample
        model.set_params(init="k-means++", n_init=n_init, random_state=random_state)
        model.inertia_, model.n_iter_ = np.inf, 0  # on all customers

    for _ in range(RACE_PASSES):
        _iterate(apply, racers, total.squares, LEAST_GAIN)
        best = {k: min((model for model in racers if model.n_clusters == k), key=_inertia) for k in k_values}
        racers = [model for model in racers if model.inertia_ <= (1 + BEHIND) * best[model.n_clusters].inertia_]
    running, waiting = list(best.values()), deque(best.values())
    while waiting:
        last = running and running[0].n_iter_ >= max_iter - 1
        moved = _iterate(apply, running, total.squares, np.inf if last else LEAST_GAIN)
        running = [model for model, has_moved in zip(running, moved, strict=True) if has_moved]
        while waiting and waiting[0] not in running:
            yield waiting.popleft()


def _moments(rows: Rows, _: int) -> _Moments:
    return _Moments(len(rows), rows.sum(axis=0), float(np.square(rows).sum()))


def _draw(rows: Rows, first_row: int, *, total: _Moments, seed: int) -> _Sample:
    """Draw each row by a lot of its own, so that it does not matter which part it lies in."""
    mean = total.sums / total.customers
    spread = total.squares - total.customers * (mean @ mean)
    chance = (1 / total.customers + np.square(rows - mean).sum(axis=1) / spread) / 2
    lot = np.random.Generator(np.random.PCG64(seed).advance(first_row)).random(len(rows))
    drawn = lot < SAMPLE * chance
    return _Sample(rows[drawn], chance[drawn], lot[drawn])


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
