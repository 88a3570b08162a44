"""Find customers who come again further down, in a table of which no process sees more than a part.

All that is needed of a row is the hash of its id, 8 bytes (and as much again while they are sorted). Ids that share a hash may
still be different ones, so this finds candidates; whoever has the rows compares the ids of these, with `repeats_among`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_PREFIX = 24  # bits of a hash: a table of them takes 16 MB


class Repeats(NamedTuple):
    """The rows of a part whose id stands in other rows too, or seems to."""

    rows: NDArray[np.intp]
    """Positions in the part, ascending."""
    is_last: NDArray[np.bool_]
    """Of the same shape: whether it is the last row with its id, in this part and all later ones."""
    n_rows: int
    """How many rows of the part were looked at."""


def find_repeats(hashes: Sequence[NDArray[np.uint64]]) -> list[Repeats]:
    """Find in each part the rows whose hash stands elsewhere too.

    Parameters
    ----------
    hashes : one array for each part, in their order
    """
    if not hashes:
        return []
    ordered = np.concatenate(hashes)
    ordered.sort()
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    begins = np.zeros(1 << _PREFIX, np.bool_)  # most rows need not be looked up: none that is repeated begins like them
    begins[_prefix(repeated)] = True
    found = [np.flatnonzero(begins[_prefix(part)]) for part in hashes]
    found = [rows[_is_among(part[rows], repeated)] for part, rows in zip(hashes, found, strict=True)]
    repeats = [Repeats(rows, np.ones(len(rows), np.bool_), len(part)) for part, rows in zip(hashes, found, strict=True)]
    return repeats_among(repeats, [part[rows] for part, rows in zip(hashes, found, strict=True)])


def repeats_among(repeats: Sequence[Repeats], keys: Sequence[NDArray[Any]]) -> list[Repeats]:
    """Tell anew which of some rows are the last ones of their key.

    Parameters
    ----------
    repeats : of each part, in the order of the parts
    keys : ids or hashes of their rows
    """
    if not repeats:
        return []
    is_last = ~pd.Series(np.concatenate(keys)).duplicated(keep="last").to_numpy(dtype=np.bool_)
    ends = np.cumsum([len(part.rows) for part in repeats])[:-1]
    return [part._replace(is_last=last) for part, last in zip(repeats, np.split(is_last, ends), strict=True)]


def _prefix(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return hashes >> np.uint64(64 - _PREFIX)


def _is_among(hashes: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places = np.searchsorted(ordered, hashes)
    places[places == len(ordered)] = 0
    return ordered[places] == hashes if len(ordered) else np.zeros(len(hashes), np.bool_)
