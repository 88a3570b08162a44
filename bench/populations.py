"""Generated customers for measurements: any number, seeded, drawn from distributions, without copies.

Three kinds of columns that are difficult for K-Means in different ways, and one table with all of them. Customers belong to a
few latent, overlapping groups. `shape` determines the groups, `generator` draws the customers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

GROUPS = 7
CHUNK_ROWS = 200_000


def heavy_tails(
    shape: np.random.Generator, generator: np.random.Generator, groups: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    """Draw a mixture of Student's t with 3 degrees of freedom, each group with its own centre and spread."""
    centres = shape.normal(0, 4, (GROUPS, n_features))
    spreads = shape.uniform(0.5, 2, (GROUPS, n_features))
    return centres[groups] + spreads[groups] * generator.standard_t(3, (len(groups), n_features))


def zero_inflated(
    shape: np.random.Generator, generator: np.random.Generator, groups: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    """Amounts such as purchases: none at all for many customers, log-normal for the others, in cents."""
    none = shape.uniform(0.05, 0.7, (GROUPS, n_features))
    level = shape.normal(6, 1, (GROUPS, n_features))
    amounts = np.exp(level[groups] + generator.normal(0, 0.9, (len(groups), n_features)))
    amounts[generator.random(amounts.shape) < none[groups]] = 0
    return amounts.round(2)


def stepped(
    shape: np.random.Generator, generator: np.random.Generator, groups: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    """Limits such as banks grant them: multiples of 100, 500 or 1000, so that very many customers are equal."""
    level = shape.normal(8, 0.6, (GROUPS, n_features))
    limits = np.exp(level[groups] + generator.normal(0, 0.5, (len(groups), n_features)))
    steps = np.select([limits < 1_000, limits < 5_000], [100.0, 500.0], 1_000.0)
    rounded: NDArray[np.float64] = np.maximum(np.round(limits / steps), 1) * steps
    return rounded


def mixed(
    shape: np.random.Generator, generator: np.random.Generator, groups: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    """Draw balances, amounts and limits in turns."""
    kinds = (_balances, zero_inflated, stepped)
    return np.hstack([kinds[column % 3](shape, generator, groups, 1) for column in range(n_features)])


def _balances(
    shape: np.random.Generator, generator: np.random.Generator, groups: NDArray[np.int64], n_features: int
) -> NDArray[np.float64]:
    return np.exp(6 + 0.5 * heavy_tails(shape, generator, groups, n_features).clip(-20, 12)).round(2)


FAMILIES: dict[str, Callable[[np.random.Generator, np.random.Generator, NDArray[np.int64], int], NDArray[np.float64]]] = {
    "heavy tails": heavy_tails,
    "zero-inflated": zero_inflated,
    "stepped": stepped,
    "mixed": mixed,
}


def draw(family: str, n_customers: int, n_features: int, seed: int) -> NDArray[np.float64]:
    """Draw an array of shape (n_customers, n_features), in the units of a table, not standardised."""
    generator = np.random.default_rng(seed)
    groups = generator.choice(GROUPS, n_customers, p=generator.dirichlet(np.full(GROUPS, 3.0)))
    return FAMILIES[family](generator, generator, groups, n_features)


def write_table(path: Path, n_rows: int, seed: int, begin: int = 0) -> None:
    """Write a credit-card table with all known columns: one row in fifty is a duplicate, a few cells are empty.

    `begin` is for a table in several files: the number of rows in the previous files.
    """
    end = begin + n_rows
    for first in range(begin, end, CHUNK_ROWS):
        rows = _draw_rows(
            np.random.default_rng(seed), np.random.default_rng([seed, first]), first, min(CHUNK_ROWS, end - first)
        )
        is_first = first == begin
        rows.to_csv(path, mode="w" if is_first else "a", header=is_first, index=False, lineterminator="\n")


def _draw_rows(shape: np.random.Generator, generator: np.random.Generator, first: int, n_rows: int) -> pd.DataFrame:
    import pandas as pd

    groups = generator.choice(GROUPS, n_rows, p=shape.dirichlet(np.full(GROUPS, 3.0)))
    numbers = first + np.arange(n_rows)
    again = generator.random(n_rows) < 0.02
    numbers[again] = generator.integers(first + n_rows, size=again.sum())
    amounts = zero_inflated(shape, generator, groups, 6)
    shares = (generator.integers(13, size=(n_rows, 6)) / 12).round(6)
    balances = _balances(shape, generator, groups, 1)[:, 0]
    limits = stepped(shape, generator, groups, 1)[:, 0]
    minimum = (0.05 * balances + 10).round(2)
    for column in (limits, minimum):
        column[generator.random(n_rows) < 0.005] = np.nan
    columns = {
        "CUST_ID": np.char.add("C", numbers.astype("U8")),
        "BALANCE": balances,
        "BALANCE_FREQUENCY": shares[:, 0],
        "PURCHASES": (amounts[:, 0] + amounts[:, 1]).round(2),
        "ONEOFF_PURCHASES": amounts[:, 0],
        "INSTALLMENTS_PURCHASES": amounts[:, 1],
        "CASH_ADVANCE": amounts[:, 2],
        "PURCHASES_FREQUENCY": shares[:, 1],
        "ONEOFF_PURCHASES_FREQUENCY": shares[:, 2],
        "PURCHASES_INSTALLMENTS_FREQUENCY": shares[:, 3],
        "CASH_ADVANCE_FREQUENCY": shares[:, 4],
        "CASH_ADVANCE_TRX": generator.poisson(3, n_rows),
        "PURCHASES_TRX": generator.poisson(15, n_rows),
        "CREDIT_LIMIT": limits,
        "PAYMENTS": amounts[:, 3],
        "MINIMUM_PAYMENTS": minimum,
        "PRC_FULL_PAYMENT": shares[:, 5],
        "TENURE": generator.integers(6, 13, n_rows),
    }
    return pd.DataFrame(columns)


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
