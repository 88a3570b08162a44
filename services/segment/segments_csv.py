"""segments.csv: one row for each customer, written and read in pieces, because there may be ten million of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from services.contract.results import SCORES_COLUMNS, SEGMENTS_COLUMNS
from services.segment.assignment import Assignment, Segmenter, confidence, is_outlier, pieces
from stagekit.tables.csv_injection import escape_formula

NO_SEGMENT = 0
"""Stands in an array of segment ids for a customer who was in none; ids begin with 1."""
NOT_IN_TABLE = -1
"""Stands in an array of segment ids for a customer who was not in the table."""

_DIGITS = 6  # of distances: sums differ in the 14th between machines, files should not

Columns = dict[str, list[Any]]
"""Rows of a table, column by column."""


class Members(NamedTuple):
    """Who was in which segment before, as seen from the customers of today."""

    segment_ids: NDArray[np.int64]
    """Shape (n_customers,): a segment id, NO_SEGMENT or NOT_IN_TABLE."""
    departed: dict[int, int]
    """How many were in each segment (or NO_SEGMENT) and are no longer in the table."""

    @property
    def sizes(self) -> dict[int, int]:
        """How many customers each segment of before had."""
        distinct, counts = np.unique(self.segment_ids, return_counts=True)
        present = dict(zip(distinct.tolist(), counts.tolist(), strict=True))
        before = {*present, *self.departed} - {NO_SEGMENT, NOT_IN_TABLE}
        return {segment_id: present.get(segment_id, 0) + self.departed.get(segment_id, 0) for segment_id in before}


def keep_last(parts: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return a table, in parts, with the last row alone of each CUST_ID; without CUST_ID every row is a customer."""
    if CUSTOMER_ID not in parts[0]:
        return list(parts)
    is_last = ~pd.concat([part[CUSTOMER_ID] for part in parts]).duplicated(keep="last").to_numpy()
    masks = np.split(is_last, np.cumsum([len(part) for part in parts])[:-1])
    return [part[mask].reset_index(drop=True) for part, mask in zip(parts, masks, strict=True) if mask.any()]


def customer_ids(customers: pd.DataFrame, first_row: int = 0) -> pd.Series[str]:
    """Take CUST_ID, or where a table has none the position of the row in the whole table, counted from 1."""
    if CUSTOMER_ID in customers:
        return customers[CUSTOMER_ID]
    return pd.Series(np.arange(first_row + 1, first_row + len(customers) + 1).astype("str"), dtype="str")


def escape_formulas(texts: pd.Series[str]) -> pd.Series[str]:
    """Apply `harmless` to a column, looking closely only at what does not begin with an ASCII letter or digit."""
    first = texts.to_numpy(dtype="U1").view(np.uint32)
    digit, upper, lower = ((first >= ord(a)) & (first <= ord(z)) for a, z in ("09", "AZ", "az"))
    rows = np.flatnonzero(~(digit | upper | lower))
    if not rows.size:
        return texts
    changed = np.array(
        texts.to_numpy(dtype=object)
    )  # to_numpy(copy=True) copies nothing from an unpickled column (pandas 3.1.1)
    changed[rows] = [escape_formula(str(text)) for text in changed[rows]]
    return pd.Series(changed, index=texts.index, name=texts.name, dtype="str")


def make_rows(
    customers: pd.DataFrame,
    assignment: Assignment,
    segmenter: Segmenter,
    previous: NDArray[np.int64] | None,
    first_row: int = 0,
) -> Iterator[Columns]:
    """Make the rows of segments.csv in the order of `customers`, some at a time.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
    assignment : of these customers to the centroids of `segmenter`
    previous : segment ids of before, shape (n_customers,)
    first_row : the position of the first of them in the whole table
    """
    ids = customer_ids(customers, first_row)
    # One entry more than there are segments: position -1, which stands for nobody, takes the last.
    segment_ids = np.array([*map(str, segmenter.segment_ids), ""], dtype=object)
    names = np.array([*map(escape_formula, segmenter.names), ""], dtype=object)
    for piece in pieces(len(customers)):
        part = assignment.part(piece)
        unassigned = np.flatnonzero(~part.assigned)
        reasons = np.full(len(part.cluster), "", dtype=object)
        unfit = customers.iloc[piece].iloc[unassigned]
        reasons[unassigned] = [escape_formula(text) for text in segmenter.preparation.complaints(unfit)]
        unusual = np.where(is_outlier(part, segmenter.reach), "yes", "no").astype(object)
        unusual[unassigned] = ""
        columns = (
            escape_formulas(ids.iloc[piece]).to_list(),
            segment_ids[part.cluster].tolist(),
            names[part.cluster].tolist(),
            *(_as_cells(values, unassigned) for values in (part.distance, part.distance_to_next, confidence(part))),
            unusual.tolist(),
            [""] * len(reasons) if previous is None else _ids_as_text(previous[piece]),
            reasons.tolist(),
        )
        yield dict(zip(SEGMENTS_COLUMNS, columns, strict=True))


def add_flags(rows: Iterator[Columns], customers: pd.DataFrame, segmenter: Segmenter) -> Iterator[Columns]:
    """Add to the rows of scored customers which features lie beyond anything seen in training, with blanks between them."""
    names = np.array(segmenter.preparation.feature_columns)
    for piece, part in zip(pieces(len(customers)), rows, strict=True):
        outside = segmenter.preparation.outside_training_range(customers.iloc[piece]).to_numpy()
        flags = [escape_formula(" ".join(names[row])) if row.any() else "" for row in outside]
        yield dict(zip(SCORES_COLUMNS, (*part.values(), flags), strict=True))


def write_rows(rows: Iterator[Columns], file: BinaryIO) -> int:
    """Write pieces of a table as one CSV file; returns the number of rows."""
    n_rows = 0
    for columns in rows:
        if not n_rows:
            file.write((",".join(columns) + "\n").encode())
        text = _to_csv(columns, csv.QUOTE_MINIMAL)
        # Before Python 3.13 csv leaves a carriage return inside a cell unquoted, and readers take it for the end of the row.
        file.write((_to_csv(columns, csv.QUOTE_ALL) if "\r" in text else text).encode())
        n_rows += len(columns[CUSTOMER_ID])
    return n_rows


def _to_csv(columns: Columns, quoting: Literal[0, 1]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator="\n").writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def _as_cells(values: NDArray[np.float64], empty: NDArray[np.intp]) -> list[Any]:
    cells: list[Any] = values.round(_DIGITS).tolist()
    for row in empty:
        cells[row] = ""
    return cells


def read_members(files: Iterable[BinaryIO], ids: pd.Series[str]) -> Members:
    """Read an earlier segments.csv, part by part, and look up the customers of today in it.

    Parameters
    ----------
    ids : n_customers ids
    """
    codes, today = pd.factorize(escape_formulas(ids))
    segment_ids = np.full(len(today), NOT_IN_TABLE, dtype=np.int64)
    departed: dict[int, int] = {}
    columns = {CUSTOMER_ID: "str", "segment_id": "float64"}
    readers = (
        pd.read_csv(
            file, usecols=list(columns), dtype=columns, keep_default_na=False, na_values={"segment_id": [""]}, chunksize=1 << 20
        )
        for file in files
    )
    for part in chain.from_iterable(readers):
        then = part["segment_id"].fillna(NO_SEGMENT).to_numpy().astype(np.int64)
        rows = today.get_indexer(pd.Index(part[CUSTOMER_ID]))
        segment_ids[rows[rows >= 0]] = then[rows >= 0]
        for segment_id, count in zip(*np.unique(then[rows < 0], return_counts=True), strict=True):
            departed[int(segment_id)] = departed.get(int(segment_id), 0) + int(count)
    return Members(segment_ids[codes], departed)


def count_reasons(reasons: Sequence[str], most: int = 10) -> dict[str, int]:
    """Count the customers without a segment by reason, the most frequent first, what is beyond `most` together."""
    counts = pd.Series(list(reasons), dtype="str").value_counts()
    if len(counts) > most:
        counts = pd.concat([counts[: most - 1], pd.Series({"other reasons": counts[most - 1 :].sum()})])
    return {str(reason): int(count) for reason, count in counts.items()}


def _ids_as_text(segment_ids: NDArray[np.int64]) -> list[str]:
    distinct, position = np.unique(segment_ids, return_inverse=True)
    texts = np.array([str(one) if one > NO_SEGMENT else "" for one in distinct], dtype=object)
    to_text: list[str] = texts[position].tolist()
    return to_text
