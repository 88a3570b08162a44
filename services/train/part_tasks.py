"""What is done with one part of the features, in whichever process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate, chain
from typing import TypeVar

from services.train.parallel import Apply, Rows, pieces
from stagekit.volume.parts import Part
from stagekit.workers.worker_pool import PersistedParts

T = TypeVar("T")


def load_scaled(part: Part) -> Rows:
    scaled: Rows = part.load()["scaled"]
    return scaled


def itself(rows: Rows) -> Rows:
    return rows


def map_persisted_chunks(held: PersistedParts) -> Apply:
    """Make the function that applies others to the parts of a table where these are held.

    It goes piece by piece as `map_chunks_in_threads` does, so that sums are added up in the same order, whoever adds them up.
    """
    firsts = [0, *accumulate(held.map(len))][:-1]

    def apply(function: Callable[[Rows, int], T], /) -> list[T]:
        return list(chain.from_iterable(held.map(partial(_by_piece, function), firsts)))

    return apply


def _by_piece(function: Callable[[Rows, int], T], rows: Rows, first_row: int) -> list[T]:
    return [function(*piece) for piece in pieces(rows, first_row)]
