"""Ids of customers, found in the lines of a table ahead of reading it, and hashed.

Who comes again further down is to be known before the first part is written, or what was read would have to lie somewhere until
all is read. So the table is looked through for its ids first, by line ends and commas, a fifth of the work of reading it.

What is found counts where pandas then reads as many rows as there were lines. A row is one line at least, and a blank line is
none; so with as many rows, each line is the row of its number. Where a cell has a line end in it, or pandas is not to be
trusted (`plain.py`), the rows themselves are hashed.

Hashed is how an id begins: up to a sign that needs quotes, 64 bytes at most. Who compares ids has the last word anyway.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.extract.pieces import Piece

_SHORT, _LONGEST = 16, 64  # bytes of an id
_ENDS = b',"\r\n'
_LINES = 1 << 16  # at a time: what is made of them takes some ten times the space of their ids
# Any odd numbers do, as long as they are the same in every process.
_MULTIPLIERS = np.random.default_rng(0).integers(2**64, size=_LONGEST // 8, dtype=np.uint64) | np.uint64(1)


def hash_ahead(piece: Piece, column: int | None) -> NDArray[np.uint64] | None:
    """Hash the ids of a piece, which stand in this column; shape (n_lines,), or None where lines do not tell them."""
    found = [None if column is None else _hash_lines(span.read(), column) for span in piece]
    hashes = [one for one in found if one is not None]
    return np.concatenate(hashes) if len(hashes) == len(found) else None


def hash_ids(ids: pd.Series[str]) -> NDArray[np.uint64]:
    """Hash ids that were read as `hash_ahead` does."""
    ends = re.compile(b"[%b]" % _ENDS)
    return _hash(np.array([ends.split(one.encode(), maxsplit=1)[0][:_LONGEST] for one in ids]))


def _hash_lines(rows: bytes, column: int) -> NDArray[np.uint64] | None:
    if column and b'"' in rows:  # there may be a quoted comma before the id
        return None
    text = np.frombuffer(rows + b"\n" * (_LONGEST + 2), np.uint8)  # whole windows for the last line too
    starts = np.concatenate([[0], np.flatnonzero(text[: len(rows) - 1] == ord("\n")) + 1])
    if (np.diff(starts) == 1).any():  # a blank line
        return None
    if column:
        commas = np.append(np.flatnonzero(text == ord(",")), len(rows))
        places = np.searchsorted(commas, starts) + column - 1
        starts = commas[np.minimum(places, len(commas) - 1)] + 1
    starts += text[starts] == ord('"')
    return np.concatenate([_hash(_cells(text, starts[first : first + _LINES])) for first in range(0, len(starts), _LINES)])


def _cells(text: NDArray[np.uint8], starts: NDArray[np.intp]) -> NDArray[np.bytes_]:
    for width in (_SHORT, _LONGEST):
        cells = np.lib.stride_tricks.sliding_window_view(text, width)[starts]
        is_end = np.logical_or.reduce([cells == sign for sign in _ENDS])
        lengths = np.where(is_end.any(axis=1), is_end.argmax(axis=1), width)
        if lengths.max() < width:
            break
    cells *= np.tri(width + 1, width, k=-1, dtype=np.uint8)[lengths]  # zeros after the end of the cell
    found: NDArray[np.bytes_] = cells.view(f"S{width}")[:, 0]
    return found


def _hash(ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Hash texts of 64 bytes at most: the same has the same hash in every process (multilinear, over eight bytes at a time)."""
    n_words = -(-ids.itemsize // 8)
    words = ids.astype(f"S{8 * n_words}").view(np.uint64).reshape(len(ids), n_words)
    return words @ _MULTIPLIERS[:n_words]
