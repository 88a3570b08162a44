"""Draw a weighted sample of the customers on which K-Means has nearly the same SSE as on all of them.

This is the lightweight coreset of Bachem, Lucic and Krause (2018). The inclusion probability of a customer is an equal mixture
of the uniform distribution and one proportional to the squared distance from the mean; the weight is its inverse. Such a sample
contains the tails, which decide where K-Means converges.

References
----------
Bachem, Lucic and Krause (2018), Scalable k-means clustering via lightweight coresets.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.train.parallel import Chunks, Rows


class Moments(NamedTuple):
    """Sums over all customers."""

    n_customers: int
    sums: NDArray[np.float64]
    """Sum of each feature, shape (n_features,)."""
    squares: float
    """Sum of the squares of all features."""


class Sample(NamedTuple):
    """The customers of a sample, of which smaller samples can be taken."""

    points: Rows
    """Features of the sampled customers, shape (n_points, n_features)."""
    probability: NDArray[np.float64]
    """Probability of each point in a sample of one customer, shape (n_points,)."""
    uniform_draw: NDArray[np.float64]
    """The random number in [0, 1) that decided about each point, shape (n_points,)."""

    def weighted_points(self, size: int) -> tuple[Rows, NDArray[np.float64]]:
        """Return all points and their weights, the inverse of the inclusion probability in a sample of `size`."""
        return self.points, 1 / np.minimum(size * self.probability, 1)

    def subsample(self, number: int, size: int) -> tuple[Rows, NDArray[np.float64]]:
        """Return the subsample of this number with its weights.

        Subsamples of different numbers are disjoint, except for points whose weight is small: these have a high inclusion
        probability and are in several subsamples.

        Parameters
        ----------
        number : int
            From 0 to the size of the sample divided by `size`, minus 1.
        size : int
            Expected number of points.

        Returns
        -------
        points : ndarray of shape (n_drawn, n_features)
        weights : ndarray of shape (n_drawn,)
            Number of customers that each point represents.
        """
        probability = np.minimum(size * self.probability, 1)
        is_drawn = (self.uniform_draw - number * probability) % 1 < probability
        return self.points[is_drawn], 1 / probability[is_drawn]


def compute_moments(chunks: Chunks) -> Moments:
    """Count all customers, and add up their features and the squares of the features."""
    n_customers, sums, squares = (sum(column) for column in zip(*chunks.map(_chunk_moments), strict=True))
    return Moments(n_customers, sums, squares)


def draw_sample(chunks: Chunks, moments: Moments, size: int, *, seed: int) -> Sample:
    """Draw a sample of all customers.

    Each customer is sampled with a random number that depends only on the seed and the position in the table. The sample
    therefore does not depend on how the table is divided into parts.

    Parameters
    ----------
    chunks : Chunks
        Access to the standardised features of all customers.
    moments : Moments
        Those of all customers.
    size : int
        Expected number of customers in the sample.
    seed : int
    """
    drawn = chunks.map(partial(_draw_from_chunk, moments=moments, size=size, seed=seed))
    return Sample(*map(np.concatenate, zip(*drawn, strict=True)))


def _chunk_moments(rows: Rows, _: int) -> Moments:
    return Moments(len(rows), rows.sum(axis=0), float(np.square(rows).sum()))


def _draw_from_chunk(rows: Rows, first_row: int, *, moments: Moments, size: int, seed: int) -> Sample:
    mean = moments.sums / moments.n_customers
    total_squares = moments.squares - moments.n_customers * (mean @ mean)
    probability = (1 / moments.n_customers + np.square(rows - mean).sum(axis=1) / total_squares) / 2
    uniform_draw = np.random.Generator(np.random.PCG64(seed).advance(first_row)).random(len(rows))
    is_drawn = uniform_draw < size * probability
    return Sample(rows[is_drawn], probability[is_drawn], uniform_draw[is_drawn])
