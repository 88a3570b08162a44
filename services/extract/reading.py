"""From pieces of CSV files to the parts of one table, in which each customer stands once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.parts import Draft, Part, save_draft
from services.contract.tables import CUSTOMER_ID
from services.contract.workers import Workers
from services.extract.customers import Table, count_missing, read_fast, read_strictly
from services.extract.duplicates import Repeats, find_repeats, hash_ids, repeats_among
from services.extract.pieces import Piece

Target = tuple[Path, str]
"""Where drafts go; see `Workspace.target`."""


class Rows(NamedTuple):
    """Customers that were read and written as a draft of a part."""

    draft: Draft
    n_customers: int
    missing: dict[str, int]
    """How many cells of each column."""
    hashes: NDArray[np.uint64] | None
    """Of the ids, shape (n_customers,); None where the table has none."""


def read_pieces(pieces: Sequence[Piece], table: Table, target: Target, workers: Workers) -> Iterator[Rows]:
    """Read all pieces, and write the customers of each as a draft, in the order of the pieces.

    Where pandas may be wrong about a piece, the strict reader has the last word; it may go on into the next piece.

    Raises DataError, the first one in the order of the rows.
    """
    reached: dict[Path, int] = {}
    for piece, rows in zip(pieces, workers.map(partial(_read, table=table, target=target), pieces), strict=True):
        left = tuple(span._replace(start=max(span.start, reached.get(span.path, 0))) for span in piece)
        if left != piece:
            rows = _read(left, table, target)
        if rows is None:
            ((rows, ends),) = workers.map(partial(_read_strictly, table=table, target=target), [left])
            reached.update(ends)
        if rows.n_customers:
            yield rows


def _read(piece: Piece, table: Table, target: Target) -> Rows | None:
    frames = []
    for span in piece:
        frame = read_fast(span, table) if span.start < span.end else None
        if frame is None and span.start < span.end:
            return None
        if frame is not None:
            frames.append(frame)
    return _write(pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], target) if frames else None


def _read_strictly(piece: Piece, table: Table, target: Target) -> tuple[Rows, dict[Path, int]]:
    read = [read_strictly(span, table) for span in piece]
    ends = {span.path: end for span, (_, end) in zip(piece, read, strict=True)}
    return _write(pd.concat([frame for frame, _ in read], ignore_index=True), target), ends


def _write(customers: pd.DataFrame, target: Target) -> Rows:
    hashes = hash_ids(customers[CUSTOMER_ID]) if CUSTOMER_ID in customers else None
    return Rows(save_draft(*target, customers), len(customers), count_missing(customers), hashes)


def keep_last(read: Sequence[Rows], target: Target, workers: Workers) -> list[Rows]:
    """Drop the customers who come again further down, in their part or in a later one; a table without ids stays as it is.

    Only parts that lose customers are written anew. Which ids come again is told by their hashes; the ids themselves are
    compared before it counts.
    """
    if any(rows.hashes is None for rows in read):
        return list(read)
    repeats = find_repeats([rows.hashes for rows in read if rows.hashes is not None])
    while True:
        drop = partial(_drop, target=target)
        concerned = [number for number, one in enumerate(repeats) if one.rows.size]
        results = list(workers.map(drop, [read[number] for number in concerned], [repeats[number] for number in concerned]))
        by_id = repeats_among([repeats[number].rows for number in concerned], [ids for ids, _ in results])
        if all(np.array_equal(found.is_last, repeats[number].is_last) for number, found in zip(concerned, by_id, strict=True)):
            break
        for number, found in zip(concerned, by_id, strict=True):  # two ids with one hash: once more, as the ids have it
            repeats[number] = found
    kept = dict(enumerate(read)) | {number: rows for number, (_, rows) in zip(concerned, results, strict=True)}
    return [rows for _, rows in sorted(kept.items()) if rows.n_customers]


def _drop(rows: Rows, repeats: Repeats, target: Target) -> tuple[NDArray[np.object_], Rows]:
    """Drop from a part who is not the last one of an id; returns the ids of all `repeats` too."""
    customers: pd.DataFrame = Part(rows.draft.path, rows.draft.found, "run extract again").load()
    ids = customers[CUSTOMER_ID].iloc[repeats.rows].to_numpy(dtype=object)
    if repeats.is_last.all():
        return ids, rows
    keep = np.ones(len(customers), dtype=np.bool_)
    keep[repeats.rows] = repeats.is_last
    customers = customers[keep].reset_index(drop=True)
    return ids, Rows(save_draft(*target, customers), len(customers), count_missing(customers), None)
