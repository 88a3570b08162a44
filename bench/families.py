"""Populations with a known answer to "are there separate groups?": seeded, drawn from distributions.

STRUCTURELESS populations have one mode: amounts may be skewed, correlated, rounded, or zero for many customers, but no group is
separate from the others. PLANTED populations consist of groups with hardly any customers between them. `overlapping` and
`small_group` vary one figure each, to find the value above which groups are detected.

Each function takes a generator and a number of customers and returns an array of shape (n_customers, n_features), in the units
of a table, not standardised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]
Family = Callable[[np.random.Generator, int], Floats]

N_FEATURES = 3
BETWEEN = 6.0  # minimum distance of two planted groups, in standard deviations of one of them


def _correlated(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw normal scores whose pairwise correlations lie between about -0.5 and 0.9."""
    loadings = generator.uniform(0.3, 1.2, N_FEATURES) * generator.choice([1, 1, 1, -1], N_FEATURES)
    scores = generator.normal(size=(n_customers, 1)) * loadings + generator.normal(size=(n_customers, N_FEATURES))
    standardised: Floats = scores / np.sqrt(loadings**2 + 1)
    return standardised


def _amounts(scores: Floats, generator: np.random.Generator) -> Floats:
    """Draw log-normal amounts, each feature with its own spread."""
    amounts: Floats = np.exp(6 + generator.uniform(0.4, 1.2, scores.shape[1]) * scores)
    return amounts


def normal(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw independent normal features."""
    return 2.5 + generator.normal(size=(n_customers, N_FEATURES))


def correlated_normal(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw correlated normal features."""
    return 2.5 + _correlated(generator, n_customers)


def uniform(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw independent uniform features."""
    return generator.uniform(size=(n_customers, N_FEATURES))


def lognormal(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw independent log-normal amounts."""
    return _amounts(generator.normal(size=(n_customers, N_FEATURES)), generator)


def correlated_lognormal(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw correlated log-normal amounts."""
    return _amounts(_correlated(generator, n_customers), generator)


def shuffled(table: Floats, generator: np.random.Generator, n_customers: int) -> Floats:
    """Shuffle each real column separately: real margins, no dependence."""
    return generator.permuted(table, axis=0)[:n_customers]


def copula(table: Floats, generator: np.random.Generator, n_customers: int) -> Floats:
    """Real columns with the rank correlations of the table and no other dependence (a Gaussian copula)."""
    scores = norm.ppf((rankdata(table, axis=0) - 0.5) / len(table))
    drawn = generator.multivariate_normal(np.zeros(table.shape[1]), np.corrcoef(scores, rowvar=False), len(table))
    ranks = rankdata(drawn, axis=0, method="ordinal").astype(np.int64) - 1
    return np.take_along_axis(np.sort(table, axis=0), ranks, axis=0)[:n_customers]


def with_zeros(family: Family, generator: np.random.Generator, n_customers: int) -> Floats:
    """Nothing at all for one customer in ten to four in ten, in each feature at random; nothing below zero."""
    values = family(generator, n_customers)
    values[generator.random(values.shape) < generator.uniform(0.1, 0.4, values.shape[1])] = 0
    return np.maximum(values, 0)


def rounded(family: Family, generator: np.random.Generator, n_customers: int, step_sd: float = 0.25) -> Floats:
    """Multiples of `step_sd` standard deviations, so that very many customers are equal."""
    values = family(generator, n_customers)
    step = values.std(axis=0) * step_sd
    result: Floats = np.round(values / step) * step
    return result


def structureless(table: Floats) -> dict[str, Family]:
    """Name the families without groups; `table` holds real columns, in the units of a table."""
    plain: dict[str, Family] = {
        "normal": normal,
        "correlated normal": correlated_normal,
        "uniform": uniform,
        "lognormal": lognormal,
        "correlated lognormal": correlated_lognormal,
        "real columns, shuffled": partial(shuffled, table),
        "real columns, Gaussian copula": partial(copula, table),
    }
    zeros: dict[str, Family] = {f"{name}, with zeros": partial(with_zeros, family) for name, family in plain.items()}
    steps: dict[str, Family] = {f"{name}, rounded": partial(rounded, family) for name, family in plain.items()}
    return plain | zeros | steps


def _centres(generator: np.random.Generator, n_groups: int, n_features: int, apart: float) -> Floats:
    """Draw centres whose minimum distance is `apart`, none much farther out than necessary."""
    while True:
        centres = generator.normal(size=(n_groups, n_features))
        distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(n_groups, 1)]
        if distances.max() < 3 * distances.min():
            scaled: Floats = centres * apart / distances.min()
            return scaled


def _groups(generator: np.random.Generator, n_customers: int, n_groups: int) -> NDArray[np.int64]:
    """Assign customers to groups of unequal size, none below one in twelve."""
    shares = generator.dirichlet(np.full(n_groups, 2.0))
    while shares.min() < 1 / 12:
        shares = generator.dirichlet(np.full(n_groups, 2.0))
    return generator.choice(n_groups, n_customers, p=shares)


def separate_normal(generator: np.random.Generator, n_customers: int, n_features: int = N_FEATURES) -> Floats:
    """Draw two to five separate normal groups."""
    n_groups = int(generator.integers(2, 6))
    groups = _groups(generator, n_customers, n_groups)
    spreads = generator.uniform(0.5, 1, (n_groups, n_features))
    centres = _centres(generator, n_groups, n_features, BETWEEN)
    return centres[groups] + spreads[groups] * generator.normal(size=(n_customers, n_features))


def heavy_tails(generator: np.random.Generator, n_customers: int) -> Floats:
    """Student's t with 3 degrees of freedom around each centre."""
    n_groups = int(generator.integers(2, 5))
    groups = _groups(generator, n_customers, n_groups)
    centres = _centres(generator, n_groups, N_FEATURES, 1.5 * BETWEEN)
    return centres[groups] + generator.standard_t(3, (n_customers, N_FEATURES))


def lognormal_mixture(generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw amounts at a separate level for each group, `BETWEEN` standard deviations of the logarithm apart."""
    n_groups = int(generator.integers(2, 5))
    groups = _groups(generator, n_customers, n_groups)
    spread = generator.uniform(0.15, 0.3)
    centres = _centres(generator, n_groups, N_FEATURES, BETWEEN)
    return np.exp(6 + spread * (centres[groups] + generator.normal(size=(n_customers, N_FEATURES))))


def one_feature(n_groups: int, generator: np.random.Generator, n_customers: int) -> Floats:
    """Draw groups that differ in the first feature only; the others are noise."""
    values = generator.normal(size=(n_customers, N_FEATURES))
    values[:, 0] += BETWEEN * _groups(generator, n_customers, n_groups)
    return values


PLANTED: Mapping[str, Family] = {
    "separate normal groups": separate_normal,
    "heavy tails": heavy_tails,
    "log-normal groups": lognormal_mixture,
    "two groups in one feature of three": partial(one_feature, 2),
    "three groups in one feature of three": partial(one_feature, 3),
    "separate normal groups, 8 features": partial(separate_normal, n_features=8),
    "separate normal groups, rounded": partial(rounded, separate_normal, step_sd=0.1),
}


def overlapping(apart: float, generator: np.random.Generator, n_customers: int) -> Floats:
    """Three groups of equal size and spread, any two of them `apart`, in standard deviations."""
    centres = apart / np.sqrt(2) * np.eye(3)
    values: Floats = centres[generator.integers(3, size=n_customers)] + generator.normal(size=(n_customers, 3))
    return values


def small_group(share: float, apart: float, generator: np.random.Generator, n_customers: int) -> Floats:
    """One normal cloud, and a small group `apart` from its centre, in standard deviations of the cloud, half as wide."""
    values = generator.normal(size=(n_customers, N_FEATURES))
    small = generator.random(n_customers) < share
    values[small] = apart / np.sqrt(N_FEATURES) + values[small] / 2
    return values


def draw(family: Family, n_customers: int, seed: int) -> Floats:
    """Draw a population and standardise it, as the transform stage does."""
    return standardise(family(np.random.default_rng(seed), n_customers))


def standardise(table: Floats) -> Floats:
    """Subtract the mean of each column and divide by its standard deviation."""
    standardised: Floats = (table - table.mean(axis=0)) / table.std(axis=0)
    return standardised
