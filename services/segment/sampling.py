"""A random sample of the customers with all columns: what descriptions and rules of large tables are computed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import Preparation
from stagekit.tables.table_schema import MISSING_NUMBERS

MAX_CUSTOMERS = 200_000
"""About how many customers a sample has. Up to this number all customers are used."""
MAX_CELLS = 5_000_000
"""Limit of customers times columns: a table with more than 25 columns has a smaller sample, one with 200 about 25,000."""
MAX_LEVELS = 20
"""Number of different texts above which a text column is not described."""
MAX_LEVEL_LENGTH = 100
"""Number of characters above which a text is no category."""

_SEED = 7
_TOO_MANY = f"has more than {MAX_LEVELS} different texts"
_NUMBER = r"[+-]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?"  # no leading zero: 01234 is a code


class Sample(NamedTuple):
    """Customers to whom a preparation can be applied: all, or drawn at random with a fixed seed."""

    customers: pd.DataFrame
    """The columns that can be described: numbers as float64, categories as text."""
    prepared: pd.DataFrame
    """The columns that the preparation needs, as they are in the table."""
    left_out: dict[str, str]
    """The columns that cannot be described, with the reason."""
    is_sample: bool
    """Whether there are customers who are not in it."""


def sampling_rate(n_customers: int, n_columns: int) -> float:
    """Return the probability with which a customer is drawn, 1 for a small table.

    Parameters
    ----------
    n_customers : int
        Number of customers to whom the preparation can be applied.
    n_columns : int
        Number of all columns of the table.
    """
    return min(1.0, MAX_CUSTOMERS / max(n_customers, 1), MAX_CELLS / max(n_customers * n_columns, 1))


def sample_part(
    customers: pd.DataFrame, number: int, *, preparation: Preparation, n_customers: int, decimal: str = "."
) -> Sample:
    """Draw from one part of the table, and keep the columns that may be described.

    Extract reads only the columns that it knows as numbers; other columns of numbers are texts here. They become numbers only
    if they have too many different texts for categories, because another part may hold other texts; see `join_samples`.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
    number : int
        Position of the part in the table. With the seed it determines which customers are drawn.
    preparation : Preparation
    n_customers : int
        Number of customers in all parts to whom the preparation can be applied; see `sampling_rate`.
    decimal : str
        Decimal mark of numbers in text columns.
    """
    rate = sampling_rate(n_customers, len(customers.columns))
    if rate < 1:
        customers = customers.take(np.flatnonzero(np.random.default_rng([_SEED, number]).random(len(customers)) < rate))
    customers = customers[preparation.fits(customers).to_numpy()].reset_index(drop=True)
    kept: dict[str, pd.Series[Any]] = {}
    left_out = {}
    for name, column in customers.items():
        if name == CUSTOMER_ID:
            continue
        if pd.api.types.is_numeric_dtype(column):
            kept[str(name)] = column.astype("float64")
        elif not (reason := _why_no_category(column)):
            codes, levels = pd.factorize(column)  # one object per level, not one per customer
            texts = np.array([*levels, None], dtype=object)[codes]
            kept[str(name)] = pd.Series(texts, dtype="str")
        elif (numbers := _parse_numbers(column, decimal)) is not None:
            kept[str(name)] = numbers
        else:
            left_out[str(name)] = reason
    prepared = customers[list(preparation.columns)]
    return Sample(pd.DataFrame(kept, index=customers.index), prepared, left_out, rate < 1)


def join_samples(parts: Sequence[Sample], decimal: str = ".") -> Sample:
    """Join the samples of all parts. Each column is a number, a category, or left out."""
    left_out = {name: reason for part in parts for name, reason in part.left_out.items()}
    kept: dict[str, pd.Series[Any]] = {}
    for name in dict.fromkeys(str(name) for part in parts for name in part.customers if name not in left_out):
        columns = [part.customers[name] for part in parts if name in part.customers]
        pieces = [column for column in columns if len(column)] or columns[:1]
        numbers = [_parse_numbers(piece, decimal) for piece in pieces]
        if all(piece is not None for piece in numbers):
            kept[name] = pd.concat([piece for piece in numbers if piece is not None], ignore_index=True)
            continue
        column = pd.concat(pieces, ignore_index=True)
        if any(pd.api.types.is_numeric_dtype(piece) for piece in pieces):
            left_out[name] = _TOO_MANY
        elif reason := _why_no_category(column):
            left_out[name] = reason
        else:
            kept[name] = column
    prepared = pd.concat([part.prepared for part in parts], ignore_index=True)
    return Sample(pd.DataFrame(kept, index=prepared.index), prepared, left_out, any(part.is_sample for part in parts))


def _why_no_category(column: pd.Series[str]) -> str:
    """Return why the texts of a column are no categories, or an empty text if they are."""
    levels = column.dropna().unique()
    if len(levels) > MAX_LEVELS:
        return _TOO_MANY
    if any(len(level) > MAX_LEVEL_LENGTH for level in levels):
        return f"has a text of more than {MAX_LEVEL_LENGTH} characters"
    return ""


def _parse_numbers(column: pd.Series[Any], decimal: str) -> pd.Series[float] | None:
    """Return a column as numbers, or None if a text in it is no number; a column without values is one of numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    texts = column.mask(column.isin(MISSING_NUMBERS)).str.replace(decimal, ".", regex=False)
    if not texts.dropna().str.fullmatch(_NUMBER).all():
        return None
    return texts.astype("float64")
