"""Customers to measure on: seeded, drawn from distributions, as many as are asked for. None is a copy of another.

Three kinds of columns that make K-Means hard in different ways, and one table with all of them. Customers come in a few latent
groups, so that there is something to find; the groups overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GROUPS = 7


def heavy_tails(generator: np.random.Generator, groups: NDArray[np.int64], n_features: int) -> NDArray[np.float64]:
    """A mixture of Student's t with 3 degrees of freedom, each group with its own centre and spread."""
    centres = generator.normal(0, 4, (GROUPS, n_features))
    spreads = generator.uniform(0.5, 2, (GROUPS, n_features))
    return centres[groups] + spreads[groups] * generator.standard_t(3, (len(groups), n_features))


def zero_inflated(generator: np.random.Generator, groups: NDArray[np.int64], n_features: int) -> NDArray[np.float64]:
    """Amounts such as purchases: none at all for many customers, log-normal for the others, in cents."""
    none = generator.uniform(0.05, 0.7, (GROUPS, n_features))
    level = generator.normal(6, 1, (GROUPS, n_features))
    amounts = np.exp(level[groups] + generator.normal(0, 0.9, (len(groups), n_features)))
    amounts[generator.random(amounts.shape) < none[groups]] = 0
    return amounts.round(2)


def stepped(generator: np.random.Generator, groups: NDArray[np.int64], n_features: int) -> NDArray[np.float64]:
    """Limits such as banks grant them: multiples of 100, 500 or 1000, so that very many customers are equal."""
    level = generator.normal(8, 0.6, (GROUPS, n_features))
    limits = np.exp(level[groups] + generator.normal(0, 0.5, (len(groups), n_features)))
    steps = np.select([limits < 1_000, limits < 5_000], [100.0, 500.0], 1_000.0)
    return np.maximum(np.round(limits / steps), 1) * steps


def mixed(generator: np.random.Generator, groups: NDArray[np.int64], n_features: int) -> NDArray[np.float64]:
    """A balance, an amount, a limit, and again."""
    kinds = (_balances, zero_inflated, stepped)
    return np.hstack([kinds[column % 3](generator, groups, 1) for column in range(n_features)])


def _balances(generator: np.random.Generator, groups: NDArray[np.int64], n_features: int) -> NDArray[np.float64]:
    return np.exp(6 + 0.5 * heavy_tails(generator, groups, n_features).clip(-20, 12)).round(2)


FAMILIES: dict[str, Callable[[np.random.Generator, NDArray[np.int64], int], NDArray[np.float64]]] = {
    "heavy tails": heavy_tails,
    "zero-inflated": zero_inflated,
    "stepped": stepped,
    "mixed": mixed,
}


def draw(family: str, n_customers: int, n_features: int, seed: int) -> NDArray[np.float64]:
    """Draw an array of shape (n_customers, n_features), in the units of a table, not standardised."""
    generator = np.random.default_rng(seed)
    groups = generator.choice(GROUPS, n_customers, p=generator.dirichlet(np.full(GROUPS, 3.0)))
    return FAMILIES[family](generator, groups, n_features)
