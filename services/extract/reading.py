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
from services.extract.duplicates import Repeats, find_repeats, repeats_among
from services.extract.ids import hash_ahead, hash_ids
from services.extract.pieces import Piece

Target = tuple[Path, str]
"""Where drafts go; see `Workspace.target`."""


class Source(NamedTuple):
    """What a part is made of."""

    piece: Piece
    strictly: bool = False


class Kept(NamedTuple):
    """Customers of a part who stay, as a draft of it."""

    source: Source
    draft: Draft
    n_rows: int
    """How many were read, those who do not stay among them."""
    n_customers: int
    missing: dict[str, int]
    """How many cells of each column."""
    repeats: Repeats | None
    """By which it was told who stays; None where that was not told, and everybody did."""
    ids: NDArray[np.object_]
    """Of the rows of `repeats`."""
    hashes: NDArray[np.uint64]
    """Of the ids of all rows, shape (n_rows,), where it was not told who stays; else none."""
    ends: dict[Path, int]
    """How far the strict reader went."""


Write = Callable[[Source, Repeats | None], Kept | None]


def look_ahead(pieces: Sequence[Piece], table: Table, workers: Workers) -> Iterator[NDArray[np.uint64] | None]:
    """Hash the ids in the lines of each piece; None where lines do not tell them."""
    column = table.header.index(CUSTOMER_ID) if CUSTOMER_ID in table.header else None
    return workers.map(partial(hash_ahead, column=column), pieces)


def keep_last(
    pieces: Sequence[Piece], ahead: Iterable[NDArray[np.uint64] | None], table: Table, target: Target, workers: Workers
) -> list[Kept]:
    """Read all pieces, and write of each a part without the customers who come again further down, in it or in a later one.

    Who that is, is told by what `look_ahead` found. Where that does not fit the rows, the hashes of these tell, and in the end
    the ids of those whose hashes are equal: a part of which other customers stay is then written once more. A table without
    ids stays as it is.

    Raises DataError, the first one in the order of the rows.
    """
    write = partial(_write, table=table, target=target)
    kept = list(_write_as_told(pieces, list(ahead), write, workers))
    if CUSTOMER_ID not in table.header:
        return kept
    if any(part.repeats is None for part in kept):
        kept = _correct(kept, find_repeats([part.hashes for part in kept]), write, workers)
    by_id = repeats_among([part.repeats for part in kept if part.repeats], [part.ids for part in kept])
    return _correct(kept, by_id, write, workers)


def _write_as_told(
    pieces: Sequence[Piece], ahead: Sequence[NDArray[np.uint64] | None], write: Write, workers: Workers
) -> Iterator[Kept]:
    found = find_repeats([np.empty(0, np.uint64) if hashes is None else hashes for hashes in ahead])
    told = [None if hashes is None else repeats for hashes, repeats in zip(ahead, found, strict=True)]
    reached: dict[Path, int] = {}
    for piece, hashes, part in zip(pieces, ahead, workers.map(write, map(Source, pieces), told), strict=True):
        # Where pandas may be wrong, the strict reader has the last word; it may go on into the next piece.
        left = tuple(span._replace(start=max(span.start, reached.get(span.path, 0))) for span in piece)
        if left != piece:
            _discard(part)
            part = write(Source(left), None)
        if part is None:
            (part,) = workers.map(write, [Source(left, strictly=True)], [None])
            assert part is not None
            reached.update(part.ends)
        if not part.n_rows:
            _discard(part)
        elif hashes is None or part.repeats is None:
            yield part
        else:
            yield part._replace(hashes=hashes)


def _correct(kept: Sequence[Kept], repeats: Sequence[Repeats], write: Write, workers: Workers) -> list[Kept]:
    """Write those parts once more of which other customers stay than was told before, or others are to be compared."""
    todo = [number for number, (part, told) in enumerate(zip(kept, repeats, strict=True)) if not _equal(part.repeats, told)]
    again = workers.map(write, [kept[number].source for number in todo], [repeats[number] for number in todo])
    corrected = [part._replace(repeats=told) for part, told in zip(kept, repeats, strict=True)]
    for number, part in zip(todo, again, strict=True):
        assert part is not None
        assert part.repeats is not None, "other rows were read than before"
        _discard(kept[number])
        corrected[number] = part
    return corrected


def _equal(one: Repeats | None, other: Repeats) -> bool:
    if one is None:
        return not other.rows.size
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.is_last, other.is_last)


def _discard(part: Kept | None) -> None:
    if part:
        part.draft.path.unlink()


def _write(source: Source, repeats: Repeats | None, table: Table, target: Target) -> Kept | None:
    """Write a part without who is not the last one of an id, and with everybody where `repeats` does not fit its rows.

    Returns None where pandas may be wrong.
    """
    read = _read(source, table)
    if read is None:
        return None
    customers, ends = read
    n_rows = len(customers)
    ids, hashes = np.empty(0, object), np.empty(0, np.uint64)
    if repeats and repeats.n_rows == n_rows:
        ids = customers[CUSTOMER_ID].iloc[repeats.rows].to_numpy(dtype=object)
        stays = np.ones(n_rows, dtype=np.bool_)
        stays[repeats.rows] = repeats.is_last
        customers = customers if stays.all() else customers[stays].reset_index(drop=True)
    else:
        repeats = None
        if n_rows and CUSTOMER_ID in customers:
            hashes = hash_ids(customers[CUSTOMER_ID])
    draft = save_draft(*target, customers)
    return Kept(source, draft, n_rows, len(customers), count_missing(customers), repeats, ids, hashes, ends)


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
