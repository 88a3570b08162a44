"""Generate the sample customers: a synthetic card portfolio, so that the pipeline runs without data of the user.

All customers are fictitious. Each gets a group, a credit limit and habits, and is then simulated over up to twelve
monthly statements: cash advances, purchases, interest, payments. The columns are sums and counts over those
statements, so they are consistent. No column contains the group: the pipeline has to find it.

| group        | share | description                                                           |
|--------------|-------|-----------------------------------------------------------------------|
| dormant      | 12 %  | small limit, a purchase now and then, or none                         |
| transactors  | 38 %  | everyday buying on a small limit, many pay in full                    |
| comfortable  | 15 %  | high limit that they hardly need, some purchases, many pay in full    |
| revolvers    | 19 %  | medium limit, more than half of it owed, pay little above the minimum |
| cash users   | 12 %  | high limit, mostly owed, more from cash advances than from purchases  |
| big spenders | 4 %   | high limit and by far the most purchases, paid off in large steps     |

The script rewrites file.csv and test.csv beside it; the same arguments give the same bytes. For the same result on
other machines, it draws only with `random` and `standard_normal`, and rounds every amount to whole cents as soon as it
is computed: the last bit of an `exp` does not affect the files.
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CUSTOMERS = 8_950
MIN_CUSTOMERS = 1_000  # below, duplicates and missing values would no longer be rare
SEED = 2025
MONTHS = 12
NEW_CUSTOMERS = 12
OUTSIDER = 8  # the row of test.csv, counted from 0, that is outside the training range
EXCEEDS = ["BALANCE", "PURCHASES", "CREDIT_LIMIT"]  # columns in which it certainly is

AMOUNTS = ["BALANCE", "CREDIT_LIMIT", "PURCHASES", "ONEOFF_PURCHASES", "INSTALLMENTS_PURCHASES"]
AMOUNTS += ["CASH_ADVANCE", "PAYMENTS", "MINIMUM_PAYMENTS"]
COUNTS = ["CASH_ADVANCE_TRX", "PURCHASES_TRX", "TENURE"]  # the other columns are shares of the months

Floats = NDArray[np.float64]


class Group(NamedTuple):
    """One kind of customer; members vary around these figures."""

    share: float  # of all customers
    limit: float  # median credit limit
    owed: float  # median share of the limit owed before the first statement
    oneoff: float  # share who ever buy in one go
    parts: float  # share who ever buy in instalments
    cash: float  # share who ever draw cash
    pace: float  # how often they use the card, 1 = like most
    ticket: float  # median amount of one purchase
    draw: float  # median amount of one cash advance
    full: float  # share who usually pay everything
    extra: float  # the others: median share of the rest that they pay in addition to the minimum


GROUPS = {
    "dormant": Group(0.12, 1_700, 0.01, 0.45, 0.35, 0.15, 0.2, 30, 120, 0.15, 0.30),
    "transactors": Group(0.38, 2_100, 0.05, 0.70, 0.75, 0.50, 1.0, 30, 150, 0.35, 0.25),
    "comfortable": Group(0.15, 8_000, 0.05, 0.80, 0.65, 0.45, 1.0, 50, 400, 0.35, 0.20),
    "revolvers": Group(0.19, 4_500, 0.65, 0.55, 0.50, 0.85, 0.9, 30, 220, 0.01, 0.04),
    "cash users": Group(0.12, 9_000, 0.70, 0.45, 0.30, 0.95, 1.0, 40, 500, 0.01, 0.06),
    "big spenders": Group(0.04, 13_000, 0.12, 0.98, 0.85, 0.30, 1.3, 160, 500, 0.45, 0.30),
}


def happens(rng: np.random.Generator, probability: Floats) -> NDArray[np.bool_]:
    """Draw for each customer whether an event happens."""
    return rng.random(probability.shape) < probability


def around(rng: np.random.Generator, median: Floats, sigma: float) -> Floats:
    """Draw log-normal values, skewed to the right like amounts of money."""
    return median * np.exp(sigma * rng.standard_normal(median.shape))


def draw_customers(rng: np.random.Generator, n_customers: int) -> tuple[NDArray[np.str_], dict[str, Floats]]:
    """Draw each customer's group and habits; amounts are in cents."""
    table = np.array(list(GROUPS.values()))
    member = np.searchsorted(np.cumsum(table[:-1, 0]), rng.random(n_customers), side="right")
    of = dict(zip(Group._fields, table[member].T, strict=True))
    every = np.ones(n_customers)

    limit = around(rng, of["limit"], 0.3)
    step = np.where(limit < 2_000, 100, 500)
    limit = 100 * np.clip(np.rint(limit / step) * step, 300, 30_000)
    pace = of["pace"] * np.sqrt(rng.random(n_customers))
    oneoff = happens(rng, of["oneoff"]) * pace * rng.random(n_customers)
    parts = happens(rng, of["parts"]) * 1.3 * pace
    buyers_draw_less = np.where(oneoff + parts > 0, 0.8, 1.3)
    owed = np.rint(limit * np.minimum(around(rng, of["owed"], 0.4), 1.0))
    return np.array(list(GROUPS))[member], {
        "limit": limit,
        "tenure": np.where(happens(rng, 0.85 * every), MONTHS, 6 + np.floor(6 * rng.random(n_customers))),
        "oneoff": oneoff,
        "parts": parts,
        "cash": happens(rng, buyers_draw_less * of["cash"]) * 0.6 * of["pace"] * rng.random(n_customers),
        "ticket": around(rng, 100 * of["ticket"], 0.5),
        "draw": around(rng, 100 * of["draw"], 0.5),
        "several": around(rng, 3 * every, 0.8),  # transactions of one kind in a busy month
        "owed": np.where(owed < 20_00, 0, owed),
        "full": happens(rng, of["full"]) * np.sqrt(rng.random(n_customers)),
        "extra": around(rng, of["extra"], 0.8),
    }


def simulate_statements(rng: np.random.Generator, of: dict[str, Floats]) -> dict[str, Floats]:
    """Return the sums of the monthly figures, by column in the order of the files; amounts are in cents."""

    def use(probability: Floats, amount: Floats, room: Floats) -> tuple[Floats, Floats]:
        """Draw the transactions of one month and their sum; rejected if the sum would exceed the limit."""
        count = 1 + np.floor(of["several"] * rng.random(room.shape) ** 3)
        cents = np.rint(count * around(rng, amount, 0.5))
        accepted = happens(rng, probability) & (cents >= 1) & (cents <= room)
        return np.where(accepted, count, 0), np.where(accepted, cents, 0)

    balance = of["owed"]
    total: dict[str, Floats] = {}
    for month in range(MONTHS):
        is_open = month < of["tenure"]
        interest = np.rint(0.015 * balance)
        draws, drawn = use(of["cash"], of["draw"], of["limit"] - balance)
        balance = balance + drawn
        parts, in_parts = use(of["parts"], of["ticket"], of["limit"] - balance)
        balance = balance + in_parts
        oneoffs, at_once = use(of["oneoff"], 2 * of["ticket"], of["limit"] - balance)
        balance = balance + at_once + interest
        minimum = np.minimum(balance, np.maximum(np.rint(0.03 * balance), 10_00))
        extra = np.minimum(2 * of["extra"] * rng.random(balance.shape), 1.0)
        extra = np.where(happens(rng, of["full"]), 1.0, extra)
        forgotten = rng.random(balance.shape) < 0.04
        paid = np.where(forgotten, 0, minimum + np.rint(extra * (balance - minimum)))
        figures = {
            "BALANCE": balance,
            "BALANCE_FREQUENCY": balance > 0,
            "PURCHASES": at_once + in_parts,
            "ONEOFF_PURCHASES": at_once,
            "INSTALLMENTS_PURCHASES": in_parts,
            "CASH_ADVANCE": drawn,
            "PURCHASES_FREQUENCY": oneoffs + parts > 0,
            "ONEOFF_PURCHASES_FREQUENCY": oneoffs > 0,
            "PURCHASES_INSTALLMENTS_FREQUENCY": parts > 0,
            "CASH_ADVANCE_FREQUENCY": draws > 0,
            "CASH_ADVANCE_TRX": draws,
            "PURCHASES_TRX": oneoffs + parts,
            "CREDIT_LIMIT": of["limit"],
            "PAYMENTS": paid,
            "MINIMUM_PAYMENTS": minimum,
            "PRC_FULL_PAYMENT": (balance > 0) & (paid == balance),
            "TENURE": np.ones_like(balance),
        }
        for column, figure in figures.items():
            total[column] = total.get(column, 0) + np.where(is_open, figure, 0)
        balance = balance - paid
    return total


def simulate(rng: np.random.Generator, n_customers: int) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    """Return the columns after CUST_ID, shape (n_customers, 17), and the name of each customer's group."""
    groups, customers = draw_customers(rng, n_customers)
    table = pd.DataFrame(simulate_statements(rng, customers))
    shares = table.columns.difference(AMOUNTS + COUNTS)
    table[shares] = np.round(table[shares].div(table["TENURE"], axis="index"), 6)
    for column in ("BALANCE", "CREDIT_LIMIT"):
        table[column] = np.rint(table[column] / table["TENURE"])
    table[AMOUNTS] /= 100
    none_ever_due = table["MINIMUM_PAYMENTS"] == 0
    return table.assign(MINIMUM_PAYMENTS=table["MINIMUM_PAYMENTS"].mask(none_ever_due)), groups


def sample(n_rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return the rows of file.csv and of test.csv, and the group of every customer of file.csv, by CUST_ID."""
    rng = np.random.Generator(np.random.PCG64(seed))
    n_updates, n_no_balance, n_no_limit = (max(1, n_rows // every) for every in (750, 2_000, 4_000))
    n_known = n_rows - n_updates
    drawn, groups = simulate(rng, n_known + 20 * NEW_CUSTOMERS)
    drawn.insert(0, "CUST_ID", [f"C{10_001 + position}" for position in range(len(drawn))])
    known, new = drawn[:n_known].copy(), drawn[n_known:]

    picked = np.argsort(rng.random(n_known))
    known.loc[picked[:n_no_balance], "BALANCE"] = np.nan
    known.loc[picked[-n_no_limit:], "CREDIT_LIMIT"] = np.nan
    updates = updated(known.loc[np.sort(picked[n_no_balance : n_no_balance + n_updates])])
    file = pd.concat([known, updates], ignore_index=True)

    latest = file.drop_duplicates("CUST_ID", keep="last").set_index("CUST_ID")
    lowest, highest = latest.min(), latest.max()
    new = new[(new[lowest.index].ge(lowest) & new[highest.index].le(highest)).all(axis="columns")]
    biggest = new.nlargest(1, "PURCHASES")
    others = new.drop(biggest.index)[: NEW_CUSTOMERS - 1]
    outsider = enlarged(biggest, highest)
    test = pd.concat([others[:OUTSIDER], outsider, others[OUTSIDER:]], ignore_index=True)

    whole = dict.fromkeys([*COUNTS, "CREDIT_LIMIT"], "Int64")
    by_customer = pd.Series(groups[:n_known], index=known["CUST_ID"])
    return file.astype(whole), test.astype(whole), by_customer


def updated(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the same customers somewhat later: half of the balance is paid, the limit is raised."""
    paid = np.round(customers["BALANCE"] / 2, 2)
    return customers.assign(
        BALANCE=np.round(customers["BALANCE"] - paid, 2),
        PAYMENTS=np.round(customers["PAYMENTS"] + paid, 2),
        CREDIT_LIMIT=np.minimum(np.ceil(customers["CREDIT_LIMIT"] / 500 + 1) * 500, 30_000),
    )


def enlarged(customer: pd.DataFrame, highest: pd.Series) -> pd.DataFrame:
    """Return the customer with all amounts multiplied, like a company's card: at least twice the highest."""
    times = np.ceil(2 * (highest[EXCEEDS] / customer[EXCEEDS].iloc[0]).max())
    return customer.assign(**{column: np.round(customer[column] * times, 2) for column in AMOUNTS})


def write(table: pd.DataFrame, path: Path) -> None:
    """Replace the file atomically: a reader sees the old table or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def main() -> None:
    """Write both files into the folder given on the command line."""
    parser = argparse.ArgumentParser(description="Write the sample files file.csv and test.csv.")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="rows of file.csv (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives other customers (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: that of the script)")
    arguments = parser.parse_args()
    if arguments.customers < MIN_CUSTOMERS:
        parser.error(f"--customers is {arguments.customers}, expected at least {MIN_CUSTOMERS}")
    file, test, _ = sample(arguments.customers, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(file, arguments.out / "file.csv")
    write(test, arguments.out / "test.csv")
    print(f"{arguments.out}: file.csv with {len(file)} rows, test.csv with {len(test)}")


if __name__ == "__main__":
    main()
