"""Functions that run on one part of the features: in this process, in another one, or on a Dask worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate, chain
from typing import TypeVar

from services.train.parallel import MapChunks, Rows, iter_chunks
from stagekit.volume.parts import Part
from stagekit.workers.worker_pool import PersistedParts

T = TypeVar("T")


def load_scaled(part: Part) -> Rows:
    """Load the standardised features of a part, shape (n_part, n_features)."""
    scaled: Rows = part.load()["scaled"]
    return scaled


def identity(rows: Rows) -> Rows:
    """Return the rows, to fetch a part from the worker that keeps it."""
    return rows


def map_persisted_chunks(parts: PersistedParts) -> MapChunks:
    """Return a function that maps other functions over the chunks of persisted parts, on the workers that keep them.

    The chunks are those of `map_chunks_in_threads`, so sums are added up in the same order with and without a cluster.
    """
    first_rows = [0, *accumulate(parts.map(len))][:-1]

    def map_chunks(function: Callable[[Rows, int], T], /) -> list[T]:
        return list(chain.from_iterable(parts.map(partial(_map_part, function), first_rows)))

    return map_chunks


def _map_part(function: Callable[[Rows, int], T], rows: Rows, first_row: int) -> list[T]:
    return [function(*chunk) for chunk in iter_chunks(rows, first_row)]
