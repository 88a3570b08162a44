"""Draw customers who stand for all of them, as K-Means sees them.

The lightweight coreset of Bachem, Lucic and Krause (2018), Scalable k-means clustering via lightweight coresets: a customer is
drawn with a chance that is half the same for everybody and half in proportion to the squared distance from the mean, and weighs
what makes up for it. The tails, which decide where K-Means ends, are in every such sample.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.train.parallel import Apply, Rows


class Moments(NamedTuple):
    customers: int
    sums: NDArray[np.float64]
    squares: float


class Sample(NamedTuple):
    points: Rows
    chance: NDArray[np.float64]
    """How likely each was to be drawn, for a sample of one customer."""
    lot: NDArray[np.float64]

    def whole(self, size: int) -> tuple[Rows, NDArray[np.float64]]:
        """The points of a sample of `size`, and for how many customers each of them stands."""
        return self.points, 1 / np.minimum(size * self.chance, 1)

    def slice(self, number: int, size: int) -> tuple[Rows, NDArray[np.float64]]:
        """The same for the slice of this number; a point that stands for few customers is in several slices."""
        chance = np.minimum(size * self.chance, 1)
        drawn = (self.lot - number * chance) % 1 < chance
        return self.points[drawn], 1 / chance[drawn]


def measure(apply: Apply) -> Moments:
    """Count all customers, and add up their features and the squares of these."""
    customers, sums, squares = (sum(column) for column in zip(*apply(_measure), strict=True))
    return Moments(customers, sums, squares)


def draw_sample(apply: Apply, everybody: Moments, size: int, *, seed: int) -> Sample:
    """Draw `size` customers on average."""
    drawn = apply(partial(_draw, everybody=everybody, size=size, seed=seed))
    return Sample(*map(np.concatenate, zip(*drawn, strict=True)))


def _measure(rows: Rows, _: int) -> Moments:
    return Moments(len(rows), rows.sum(axis=0), float(np.square(rows).sum()))


def _draw(rows: Rows, first_row: int, *, everybody: Moments, size: int, seed: int) -> Sample:
    """Draw each row by a lot of its own, so that it does not matter which part it lies in."""
    mean = everybody.sums / everybody.customers
    spread = everybody.squares - everybody.customers * (mean @ mean)
    chance = (1 / everybody.customers + np.square(rows - mean).sum(axis=1) / spread) / 2
    lot = np.random.Generator(np.random.PCG64(seed).advance(first_row)).random(len(rows))
    drawn = lot < size * chance
    return Sample(rows[drawn], chance[drawn], lot[drawn])
