"""Generate a table of another kind than the sample data: shoppers with recency, frequency, spend and region.

Usage:

    python -m bench.shoppers shared_volume/data/shoppers.csv
    python -m services --volume shared_volume --run shoppers --data-file data/shoppers.csv --id-column shopper_id \
        --feature-columns recency_days,orders,spend
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path
from typing import NamedTuple

N_SHOPPERS = 3000
COLUMNS = ("shopper_id", "recency_days", "orders", "spend", "age", "region", "channel")


class Group(NamedTuple):
    """A kind of shopper."""

    share: float
    recency_days: float
    """Mean number of days since the last order."""
    orders: float
    """Mean number of orders in a year."""
    basket: float
    """Median amount of an order."""
    regions: tuple[int, int, int, int]
    """Weights of north, east, south and west."""


GROUPS = (
    Group(0.35, recency_days=25, orders=6, basket=40, regions=(4, 3, 2, 1)),
    Group(0.30, recency_days=240, orders=2, basket=45, regions=(2, 3, 3, 2)),
    Group(0.25, recency_days=15, orders=18, basket=35, regions=(1, 1, 4, 4)),
    Group(0.10, recency_days=40, orders=10, basket=210, regions=(6, 1, 1, 2)),
)


def shoppers(n_shoppers: int = N_SHOPPERS, seed: int = 7) -> list[tuple[str | int | float, ...]]:
    """Return one row per shopper with the values of `COLUMNS`; about one in fifty has no age."""
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    rows: list[tuple[str | int | float, ...]] = []
    for number in range(1, n_shoppers + 1):
        group = draw.choices(GROUPS, [group.share for group in GROUPS])[0]
        orders = max(1, round(draw.gammavariate(4, group.orders / 4)))
        spend = round(orders * group.basket * draw.lognormvariate(0, 0.4), 2)
        recency = min(365, round(draw.gammavariate(3, group.recency_days / 3)))
        age = "" if draw.random() < 0.02 else round(draw.gauss(44, 14))
        region = draw.choices(("north", "east", "south", "west"), group.regions)[0]
        rows.append((f"S{number:05d}", recency, orders, spend, age, region, draw.choice(("app", "shop", "web"))))
    return rows


def write_shoppers(path: Path) -> None:
    """Write the table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *shoppers()])


if __name__ == "__main__":
    write_shoppers(Path(sys.argv[1]))
