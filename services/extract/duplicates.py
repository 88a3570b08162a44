"""Find customers who come again further down, in a table of which no process sees more than a part.

What stays in memory of each row is 8 bytes, the hash of its id. Ids that share a hash may still be different ones, so this
finds candidates; whoever has the rows compares the ids of these, with `repeats_among`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Repeats(NamedTuple):
    """The rows of a part whose id stands in other rows too."""

    rows: NDArray[np.intp]
    """Positions in the part, ascending."""
    is_last: NDArray[np.bool_]
    """Of the same shape: whether it is the last row with its id, in this part and all later ones."""


def hash_ids(ids: pd.Series[str]) -> NDArray[np.uint64]:
    """Hash ids: the same id has the same hash in every process."""
    return pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False)


def find_repeats(hashes: Sequence[NDArray[np.uint64]]) -> list[Repeats]:
    """Find in each part the rows whose hash stands elsewhere too.

    Parameters
    ----------
    hashes : one array for each part, in their order
    """
    ordered = np.sort(np.concatenate(hashes))
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    rows = [np.flatnonzero(_is_among(part, repeated)) for part in hashes]
    return repeats_among(rows, [part[found] for part, found in zip(hashes, rows, strict=True)])


def repeats_among(rows: Sequence[NDArray[np.intp]], keys: Sequence[NDArray[Any]]) -> list[Repeats]:
    """Tell which of some rows are the last ones of their key.

    Parameters
    ----------
    rows : positions in each part, in the order of the parts
    keys : ids or hashes of these rows
    """
    if not rows:
        return []
    is_last = ~pd.Series(np.concatenate(keys)).duplicated(keep="last").to_numpy(dtype=np.bool_)
    ends = np.cumsum([len(part) for part in rows])[:-1]
    return [Repeats(*pair) for pair in zip(rows, np.split(is_last, ends), strict=True)]


def _is_among(hashes: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places = np.searchsorted(ordered, hashes)
    places[places == len(ordered)] = 0
    return ordered[places] == hashes if len(ordered) else np.zeros(len(hashes), np.bool_)
