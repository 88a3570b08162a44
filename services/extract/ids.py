"""Ids of customers, found in the lines of a table ahead of reading it, and hashed.

Who comes again further down is to be known before the first part is written, or what was read would have to lie somewhere until
all is read. So the table is looked through for its ids first, by line ends and commas, a quarter of the work of reading it.
That counts where as many rows are read as there were lines; else a cell has a line end in it, and the rows tell.

Hashed is how an id begins: up to a sign that needs quotes, 64 bytes at most. Who compares ids has the last word anyway.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.extract.pieces import Piece

_SHORT, _LONGEST = 16, 64  # bytes
_ENDS = b',"\r\n'
# Any odd numbers do, as long as they are the same in every process.
_MULTIPLIERS = np.random.default_rng(0).integers(2**64, size=_LONGEST // 8, dtype=np.uint64) | np.uint64(1)


def hash_ahead(piece: Piece, column: int | None) -> NDArray[np.uint64]:
    """Hash the ids of a piece, which stand in this column; shape (n_lines,), or (0,) where lines do not tell them."""
    found = [None if column is None else find_ids(span.read(), column) for span in piece]
    ids = [one for one in found if one is not None]
    return hash_ids(np.concatenate(ids)) if len(ids) == len(found) else np.empty(0, np.uint64)


def find_ids(rows: bytes, column: int) -> NDArray[np.bytes_] | None:
    """Find how the id in each line begins; None where a quoted comma may stand before it."""
    if column and b'"' in rows:
        return None
    text = np.frombuffer(rows + b"\n" * (_LONGEST + 2), np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(text[: len(rows) - 1] == ord("\n")) + 1])
    if column:
        commas = np.append(np.flatnonzero(text == ord(",")), len(rows))
        starts = 1 + commas.take(np.searchsorted(commas, starts) + column - 1, mode="clip")
    starts += text[starts] == ord('"')
    for width in (_SHORT, _LONGEST):
        cells = np.lib.stride_tricks.sliding_window_view(text, width)[starts]
        is_end = np.logical_or.reduce([cells == sign for sign in _ENDS])
        lengths = np.where(is_end.any(axis=1), is_end.argmax(axis=1), width)
        if lengths.max() < width:
            break
    cells *= np.tri(width + 1, width, k=-1, dtype=np.uint8)[lengths]
    ids: NDArray[np.bytes_] = cells.view(f"S{width}")[:, 0]
    return ids


def encode_ids(ids: pd.Series[str]) -> NDArray[np.bytes_]:
    """Tell how ids that were read begin, as `find_ids` does."""
    ends = re.compile(b"[%b]" % _ENDS)
    return np.array([ends.split(one.encode(), maxsplit=1)[0][:_LONGEST] for one in ids])


def hash_ids(ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Hash what ids begin with: the same has the same hash in every process (multilinear, over eight bytes at a time)."""
    n_words = -(-ids.itemsize // 8)
    words = ids.astype(f"S{8 * n_words}").view(np.uint64).reshape(len(ids), n_words)
    return words @ _MULTIPLIERS[:n_words]
