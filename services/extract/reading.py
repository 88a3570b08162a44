"""From pieces of CSV files to the parts of one table, in which each customer stands once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.parts import Draft, save_draft
from services.contract.pickles import load_pickle
from services.contract.tables import CUSTOMER_ID
from services.contract.workers import Workers
from services.extract.customers import Table, count_missing, read_fast, read_strictly
from services.extract.duplicates import Repeats, find_repeats, hash_ids, repeats_among
from services.extract.pieces import Piece

Target = tuple[Path, str]
"""Where drafts go; see `Workspace.target`."""


class Rows(NamedTuple):
    """Customers that were read, in a file of their own for as long as it is not known who of them stays."""

    path: Path
    n_customers: int
    hashes: NDArray[np.uint64] | None
    """Of the ids, shape (n_customers,); None where the table has none."""


class Kept(NamedTuple):
    """Customers of a part who stay, as a draft of it."""

    draft: Draft
    n_customers: int
    missing: dict[str, int]
    """How many cells of each column."""


def read_pieces(pieces: Sequence[Piece], table: Table, folder: Path, workers: Workers) -> Iterator[Rows]:
    """Read all pieces, and keep the customers of each in a file in `folder`, in the order of the pieces.

    Where pandas may be wrong about a piece, the strict reader has the last word; it may go on into the next piece.

    Raises DataError, the first one in the order of the rows.
    """
    reached: dict[Path, int] = {}
    for piece, rows in zip(pieces, workers.map(partial(_read, table=table, folder=folder), pieces), strict=True):
        left = tuple(span._replace(start=max(span.start, reached.get(span.path, 0))) for span in piece)
        if left != piece:
            rows = _read(left, table, folder)
        if rows is None:
            ((rows, ends),) = workers.map(partial(_read_strictly, table=table, folder=folder), [left])
            reached.update(ends)
        if rows.n_customers:
            yield rows


def _read(piece: Piece, table: Table, folder: Path) -> Rows | None:
    frames = []
    for span in piece:
        frame = read_fast(span, table) if span.start < span.end else None
        if frame is None and span.start < span.end:
            return None
        if frame is not None:
            frames.append(frame)
    return _put_by(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], folder) if frames else None


def _read_strictly(piece: Piece, table: Table, folder: Path) -> tuple[Rows, dict[Path, int]]:
    read = [read_strictly(span, table) for span in piece]
    ends = {span.path: end for span, (_, end) in zip(piece, read, strict=True)}
    return _put_by(pd.concat([frame for frame, _ in read], ignore_index=True), folder), ends


def _put_by(customers: pd.DataFrame, folder: Path) -> Rows:
    # A name of its own: a worker that was given up may still be writing what another one has begun anew.
    path = folder / f"{secrets.token_hex(8)}.pkl"
    customers.to_pickle(path)
    return Rows(path, len(customers), hash_ids(customers[CUSTOMER_ID]) if CUSTOMER_ID in customers else None)


def keep_last(read: Sequence[Rows], target: Target, workers: Workers) -> list[Kept]:
    """Drop the customers who come again further down, in their part or in a later one; a table without ids stays as it is.

    Which ids come again is told by their hashes; the ids themselves are compared before it counts.
    """
    repeats = find_repeats([rows.hashes if rows.hashes is not None else np.empty(0, np.uint64) for rows in read])
    numbers = todo = list(range(len(read)))
    kept: dict[int, tuple[NDArray[np.object_], Kept]] = {}
    while todo:
        concerned = [read[number] for number in todo], [repeats[number] for number in todo]
        kept.update(zip(todo, workers.map(partial(_keep, target=target), *concerned), strict=True))
        by_hash, repeats = repeats, repeats_among([one.rows for one in repeats], [kept[number][0] for number in numbers])
        # Two ids may have one hash: once more, as the ids have it.
        todo = [number for number in numbers if not np.array_equal(by_hash[number].is_last, repeats[number].is_last)]
    return [one for _, one in (kept[number] for number in numbers) if one.n_customers]


def _keep(rows: Rows, repeats: Repeats, target: Target) -> tuple[NDArray[np.object_], Kept]:
    """Write a part without who is not the last one of an id; returns the ids of all `repeats` too."""
    with rows.path.open("rb") as file:
        customers: pd.DataFrame = load_pickle(file, rows.path.name)
    ids = customers[CUSTOMER_ID].iloc[repeats.rows].to_numpy(dtype=object) if repeats.rows.size else np.empty(0, object)
    if not repeats.is_last.all():
        keep = np.ones(len(customers), dtype=np.bool_)
        keep[repeats.rows] = repeats.is_last
        customers = customers[keep].reset_index(drop=True)
    return ids, Kept(save_draft(*target, customers), len(customers), count_missing(customers))
