"""Read the customer table and keep each customer once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from services.contract import tables
from services.contract.errors import DataError
from services.extract.plain import is_plain


def read_customers(path: Path, feature_columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file with one row per customer.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns): numbers as float64, missing ones as NaN; every other column as text.

    Raises DataError that names file, column, row and value.
    """
    header = tables.read_header(path, feature_columns)
    # Read one row strictly: pandas expects of all others as many fields as the first one has.
    if next(tables.read_rows(path, feature_columns), None) is None:
        raise DataError(f"{path.name} has a header and no rows: expected one row per customer")
    numeric = tables.numeric_columns(header, feature_columns)
    frame = _read_fast(path, header, numeric)
    if frame is None:  # something is odd: the strict reader names it, or reads what pandas could not
        frame = pd.DataFrame(tables.read_rows(path, feature_columns), columns=header)
        text = frame.columns.difference(numeric)
        frame = frame.astype({**dict.fromkeys(numeric, "float64"), **dict.fromkeys(text, "str")})
    return frame


def _read_fast(path: Path, header: list[str], numeric: list[str]) -> pd.DataFrame | None:
    """Read with pandas; None where it fails or may have read something else than what is there."""
    is_numeric = set(numeric)
    if not is_plain(path):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                index_col=False,  # else pandas takes the first column of rows that are too long for an index
                dtype={name: "float64" if name in is_numeric else "str" for name in header},
                keep_default_na=False,
                na_values={name: list(tables.MISSING) if name in is_numeric else [""] for name in header},
                encoding="utf-8-sig",
            )
    except (ValueError, pd.errors.ParserWarning):  # ValueError: pandas' ParserError and UnicodeDecodeError too
        return None
    if frame[header[-1]].isna().any():  # a missing value, or a row that is too short
        return None
    if tables.CUSTOMER_ID in frame and not _is_tidy(frame[tables.CUSTOMER_ID]):
        return None
    for name in numeric:
        smallest, largest = frame[name].min(), frame[name].max()
        lowest = 0 if name in tables.NUMERIC_COLUMNS and name not in tables.MAY_BE_NEGATIVE else -tables.LARGEST_NUMBER
        if smallest < lowest or largest > tables.LARGEST_NUMBER:
            return None
    return frame


def _is_tidy(ids: pd.Series[str]) -> bool:
    """Tell whether every id is there and without blanks around it."""
    return bool(ids.notna().all() and (ids.str.strip() == ids).all())


def keep_last(customers: pd.DataFrame) -> pd.DataFrame:
    """Drop rows whose CUST_ID comes again further down; a table without CUST_ID stays as it is."""
    if tables.CUSTOMER_ID not in customers:
        return customers
    return customers.drop_duplicates(subset=tables.CUSTOMER_ID, keep="last").reset_index(drop=True)


def count_missing(customers: pd.DataFrame) -> dict[str, int]:
    """Count the missing cells of each column that has any."""
    counts = customers.isna().sum()
    return {str(name): int(count) for name, count in counts[counts > 0].items()}
