"""The rows of segments.csv and segments.parquet: one for each customer, made part by part and written by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import GroupCounts, Preparation
from services.segment.assignment import UNASSIGNED, Segmenter, confidence, decisive_features, is_outlier
from services.segment.membership import NO_SEGMENT, PreviousMembership, split_by_part
from services.segment.part_tasks import CustomerPart, assign_part
from stagekit.tables.csv_injection import escape_formula
from stagekit.tables.duckdb_reader import attach, connect, quoted
from stagekit.volume.parts import OutputLocation, PendingPart
from stagekit.workers.worker_pool import PersistedParts

_DIGITS = 6  # of distances: sums differ in the 14th between machines, files should not

# Only an id that does not begin with an ASCII letter or digit may have to be escaped, which calls Python.
_IS_PLAIN = " OR ".join(f"id >= '{first}' AND id < '{after}'" for first, after in ("0:", "A[", "a{"))
_ESCAPED_ID = f"CASE WHEN {_IS_PLAIN} THEN id ELSE escape_formula(id) END"

_CSV = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false"
_PARQUET = "FORMAT parquet, USE_TMP_FILE false"
_PARQUET_TYPES = {"segment_id": "INTEGER", "next_segment_id": "INTEGER", "previous_segment_id": "INTEGER"}


class ScoredPart(NamedTuple):
    """A part of scored customers of which the rows are written."""

    csv: PendingPart
    sizes: NDArray[np.intp]
    """Number of customers of each segment."""
    n_outside: int
    """Number of customers outside the training range."""
    groups: GroupCounts


def write_segments(
    parts: PersistedParts, segmenter: Segmenter, membership: PreviousMembership | None, location: OutputLocation
) -> list[PendingPart]:
    """Write segments.csv or segments.parquet part by part; see `write_part`."""
    write = partial(write_part, segmenter=segmenter, location=location)
    return parts.map(write, find_first_rows(parts), split_by_part(membership, parts))


def find_first_rows(parts: PersistedParts) -> list[int]:
    """Find the position of the first customer of each part in the whole table."""
    return list(accumulate(parts.map(attrgetter("n_customers")), initial=0))[:-1]


def write_part(
    part: CustomerPart,
    first_row: int,
    previous_ids: NDArray[np.int32] | None,
    *,
    segmenter: Segmenter,
    location: OutputLocation,
) -> PendingPart:
    """Write the rows of a part.

    Parameters
    ----------
    part : CustomerPart
        With an assignment to the centroids of `segmenter`.
    first_row : int
        Position of its first customer in the whole table.
    previous_ids : ndarray of shape (n_customers,) or None
        Previous segment ids; see `PreviousMembership`.
    segmenter : Segmenter
    location : OutputLocation
        Of an artifact in CSV or Parquet.
    """
    escape = escape_formula if location.artifact.name.endswith(".csv") else str
    return _write(make_rows(part, segmenter, previous_ids, escape), part.ids, first_row, location)


def score_part(
    part: CustomerPart, first_row: int, previous_ids: NDArray[np.int32] | None, *, segmenter: Segmenter, csv: OutputLocation
) -> ScoredPart:
    """Assign the customers of a part to the segments of `segmenter`, and write their rows; see `write_part`."""
    preparation = segmenter.preparation
    scored = assign_part(part, preparation=preparation, centroids=segmenter.centroids)
    rows = make_rows(scored, segmenter, previous_ids, escape_formula)
    outside = out_of_range_features(scored, preparation, escape_formula)
    cluster = scored.assigned.cluster[scored.assigned.is_assigned]
    return ScoredPart(
        _write(rows.assign(outside_training_range=outside), part.ids, first_row, csv),
        np.bincount(cluster, minlength=len(segmenter.centroids)),
        int((outside.codes >= 0).sum()),
        preparation.count_groups(part.columns),
    )


def make_rows(
    part: CustomerPart, segmenter: Segmenter, previous_ids: NDArray[np.int32] | None, escape: Callable[[str], str]
) -> pd.DataFrame:
    """Make the rows of segments.csv, without the ids of the customers.

    Parameters
    ----------
    part : CustomerPart
        With an assignment to the centroids of `segmenter`.
    segmenter : Segmenter
    previous_ids : ndarray of shape (n_customers,) or None
        Previous segment ids; see `PreviousMembership`.
    escape : callable
        Applied to every text; `escape_formula` for CSV.

    Returns
    -------
    DataFrame of shape (n_customers, n_columns)
        Texts as categories, so that a text that many customers share is stored once; missing cells are empty in the file.
    """
    assignment, preparation = part.assigned, segmenter.preparation
    own_feature, next_feature = decisive_features(part.columns, preparation, segmenter.centroids, assignment)
    feature_names = [escape(name) for name in preparation.feature_columns]
    outlier_codes = np.where(assignment.is_assigned, is_outlier(assignment, segmenter.outlier_distance), UNASSIGNED)
    rows = {
        "segment_id": _categories(assignment.cluster, map(str, segmenter.segment_ids)),
        "segment_name": _categories(assignment.cluster, map(escape, segmenter.names)),
        "distance": assignment.distance.round(_DIGITS),
        "distance_to_next": assignment.distance_to_next.round(_DIGITS),
        "confidence": confidence(assignment).round(_DIGITS),
        "is_outlier": _categories(outlier_codes, ("no", "yes")),
        "next_segment_id": _categories(assignment.next_cluster, map(str, segmenter.segment_ids)),
        "own_feature": _categories(own_feature, feature_names),
        "next_feature": _categories(next_feature, feature_names),
        "previous_segment_id": _previous_segments(previous_ids, part.n_customers),
        "reason": _reasons(part, preparation, escape),
    }
    return pd.DataFrame(rows)


def out_of_range_features(part: CustomerPart, preparation: Preparation, escape: Callable[[str], str]) -> pd.Categorical[str]:
    """Return the features of each customer beyond anything seen in training, separated by blanks; missing if there are none."""
    is_outside = preparation.outside_training_range(part.columns).to_numpy()
    names = np.array(preparation.feature_columns)
    rows = np.flatnonzero(is_outside.any(axis=1))
    return _texts_of_rows(rows, [escape(" ".join(names[is_outside[row]])) for row in rows], part.n_customers)


def _write(rows: pd.DataFrame, ids: Path | None, first_row: int, location: OutputLocation) -> PendingPart:
    """Write rows with the ids of the customers, or with their positions in the whole table, counted from 1."""
    is_csv = location.artifact.name.endswith(".csv")
    columns = [_column(str(name), rows[name], is_csv=is_csv) for name in rows]
    pending: list[PendingPart] = []
    with location.open(pending) as file, connect(location.folder, n_threads=1) as connection:
        connection.register("rows", rows)
        if ids is None:
            connection.register("numbers", pd.DataFrame({"id": np.arange(first_row + 1, first_row + len(rows) + 1)}))
            customers, customer_id = "numbers", "id::VARCHAR"
        else:
            attach(connection, ids, 0)
            connection.create_function("escape_formula", escape_formula)
            customers, customer_id = "d0.ids", _ESCAPED_ID if is_csv else "id"
        connection.execute(
            f"COPY (SELECT {customer_id} AS {CUSTOMER_ID}, {', '.join(columns)} FROM {customers} POSITIONAL JOIN rows) "
            f"TO {quoted(file.name)} ({_CSV if is_csv else _PARQUET})"
        )
    return pending[0]


def _column(name: str, values: pd.Series[Any], *, is_csv: bool) -> str:
    if values.dtype.kind == "f":
        return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}"
    return name if is_csv else f"{name}::VARCHAR::{_PARQUET_TYPES.get(name, 'VARCHAR')} AS {name}"


def _categories(codes: NDArray[Any], texts: Iterable[str]) -> pd.Categorical[str]:
    """Replace codes by texts; code -1 is a missing cell."""
    # Categories are distinct, and DuckDB needs one at least.
    distinct, position = np.unique([*texts] or [""], return_inverse=True)
    return pd.Categorical.from_codes(np.append(position, -1)[codes], pd.Index(distinct.tolist(), dtype="str"))


def _texts_of_rows(rows: NDArray[np.intp], texts: list[str], n_rows: int) -> pd.Categorical[str]:
    """Make a column with a text in some rows; all others are missing."""
    codes = np.full(n_rows, -1)
    codes[rows], distinct = pd.factorize(np.array(texts, dtype=object))
    return _categories(codes, distinct)


def _previous_segments(previous_ids: NDArray[np.int32] | None, n_rows: int) -> pd.Categorical[str]:
    if previous_ids is None:
        return _categories(np.full(n_rows, -1), ())
    codes, distinct = pd.factorize(pd.Series(previous_ids).where(previous_ids > NO_SEGMENT))
    return _categories(codes, distinct.astype(int).astype(str))


def _reasons(part: CustomerPart, preparation: Preparation, escape: Callable[[str], str]) -> pd.Categorical[str]:
    rows = np.flatnonzero(~part.assigned.is_assigned)
    reasons = [escape(reason) for reason in preparation.complaints(part.columns.iloc[rows])]
    return _texts_of_rows(rows, reasons, part.n_customers)
