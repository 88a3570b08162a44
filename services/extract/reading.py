"""From pieces of CSV files to the parts of one table, in which each customer stands once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.parts import Draft, save_draft
from services.contract.tables import CUSTOMER_ID
from services.contract.workers import Workers
from services.extract.customers import Table, count_missing, read_fast, read_strictly
from services.extract.duplicates import NO_REPEATS, Repeats, find_repeats, repeats_among
from services.extract.ids import encode_ids, hash_ahead, hash_ids
from services.extract.pieces import Piece

Target = tuple[Path, str]
"""Where drafts go; see `Workspace.target`."""


class Source(NamedTuple):
    """What a part is made of."""

    piece: Piece
    strictly: bool = False


class Kept(NamedTuple):
    """Customers of a part who stay, as a draft of it."""

    draft: Draft
    n_customers: int
    missing: dict[str, int]
    """How many cells of each column."""
    source: Source
    n_rows: int
    """How many were read, those who do not stay among them."""
    repeats: Repeats
    """By which it was told who stays."""
    ids: NDArray[np.object_]
    """Of the rows of `repeats`."""
    hashes: NDArray[np.uint64]
    """Of the ids of all rows; shape (n_rows,), or (0,) where the table has none."""
    ends: dict[Path, int]
    """How far the files were read."""


Keep = Callable[[Source, Repeats], Kept | None]


def look_ahead(pieces: Sequence[Piece], table: Table, workers: Workers) -> Iterator[NDArray[np.uint64]]:
    """Hash the ids in the lines of each piece, as far as lines alone tell them."""
    column = table.header.index(CUSTOMER_ID) if CUSTOMER_ID in table.header else None
    return workers.map(partial(hash_ahead, column=column), pieces)


def keep_last(
    pieces: Sequence[Piece], ahead: Iterable[NDArray[np.uint64]], table: Table, target: Target, workers: Workers
) -> list[Kept]:
    """Read all pieces, and write of each a part without the customers who come again further down, in it or in a later one.

    Who that is, is guessed from what `look_ahead` found. A part for which the guess was wrong is written once more, and so is
    one in which two ids have one hash. A table without ids stays as it is.

    Raises DataError, the first one in the order of the rows.
    """
    keep = partial(_keep, table=table, target=target)
    kept = list(_keep_by_guess(pieces, list(ahead), keep, workers))
    if any(part.n_rows != part.repeats.n_rows for part in kept):
        kept = _correct(kept, find_repeats([part.hashes for part in kept]), keep, workers)
    repeats = [part.repeats for part in kept]
    return _correct(kept, repeats_among(repeats, [part.ids for part in kept]), keep, workers)


def _keep_by_guess(
    pieces: Sequence[Piece], hashes: Sequence[NDArray[np.uint64]], keep: Keep, workers: Workers
) -> Iterator[Kept]:
    reached: dict[Path, int] = {}
    kept = workers.map(keep, map(Source, pieces), find_repeats(hashes))
    for piece, part_hashes, part in zip(pieces, hashes, kept, strict=True):
        # Where pandas may be wrong, the strict reader has the last word; it may go on into the next piece.
        left = tuple(span._replace(start=max(span.start, reached.get(span.path, 0))) for span in piece)
        if left != piece:
            part = keep(Source(left), NO_REPEATS)
        if part is None:
            (part,) = workers.map(keep, [Source(left, strictly=True)], [NO_REPEATS])
            assert part is not None
            reached.update(part.ends)
        if part.n_rows:
            yield part if part.hashes.size else part._replace(hashes=part_hashes)


def _correct(kept: list[Kept], repeats: Sequence[Repeats], keep: Keep, workers: Workers) -> list[Kept]:
    """Write those parts once more for which it is told differently who stays."""
    todo = [number for number, part in enumerate(kept) if not part.repeats.equals(repeats[number])]
    again = workers.map(keep, [kept[number].source for number in todo], [repeats[number] for number in todo])
    corrected = dict(zip(todo, again, strict=True))
    for number in todo:
        kept[number].draft.path.unlink()
    return [corrected.get(number) or part for number, part in enumerate(kept)]


def _keep(source: Source, repeats: Repeats, table: Table, target: Target) -> Kept | None:
    """Write a part without who is not the last one of an id; with everybody where `repeats` speaks of another number of rows.

    Returns None where pandas may be wrong.
    """
    read = _read(source, table)
    if read is None:
        return None
    customers, ends = read
    n_rows = len(customers)
    ids, hashes = np.empty(0, object), np.empty(0, np.uint64)
    if CUSTOMER_ID in customers and repeats.n_rows != n_rows:
        repeats, hashes = NO_REPEATS, hash_ids(encode_ids(customers[CUSTOMER_ID]))
    if repeats.rows.size:
        ids = customers[CUSTOMER_ID].iloc[repeats.rows].to_numpy(dtype=object)
        keep = np.ones(n_rows, dtype=np.bool_)
        keep[repeats.rows] = repeats.is_last
        customers = customers[keep].reset_index(drop=True)
    draft = save_draft(*target, customers)
    return Kept(draft, len(customers), count_missing(customers), source, n_rows, repeats, ids, hashes, ends)


def _read(source: Source, table: Table) -> tuple[pd.DataFrame, dict[Path, int]] | None:
    frames, ends = [], {}
    for span in source.piece:
        if source.strictly:
            frame, ends[span.path] = read_strictly(span, table)
        elif (found := read_fast(span, table)) is not None:
            frame = found
        else:
            return None
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], ends
