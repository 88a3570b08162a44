"""What is done with one part of the customers, in whichever process."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.columns import CUSTOMER_ID
from services.contract.preparation import GroupCounts, Preparation
from services.segment import groups
from services.segment.assignment import Assignment, Segmenter, assign, sum_shifts
from services.segment.segments_csv import Members, add_flags, make_rows, write_rows
from services.segment.warm_start import translate
from stagekit.volume.parts import Part, PendingPart, drafting
from stagekit.workers.worker_pool import PersistedParts


def load_columns(part: Part, columns: Collection[str]) -> pd.DataFrame:
    """Load a part, and keep CUST_ID and those of `columns` that it has."""
    customers: pd.DataFrame = part.load()
    return customers[[name for name in customers if name == CUSTOMER_ID or name in columns]].copy()


def join(held: PersistedParts, columns: list[str]) -> pd.DataFrame:
    """Put columns of all parts together."""
    return pd.concat(held.map(partial(_take, columns=columns)), ignore_index=True)


def _take(customers: pd.DataFrame, *, columns: list[str]) -> pd.DataFrame:
    return customers[columns]


def assign_all(held: PersistedParts, preparation: Preparation, centroids: NDArray[np.float64]) -> Assignment:
    """Assign the customers of all parts; see `assign`."""
    found = held.map(partial(assign, preparation=preparation, centroids=centroids))
    return Assignment(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def count_groups(held: PersistedParts, preparation: Preparation) -> GroupCounts:
    """Count the customers of all parts without a known group; see `Preparation.count_groups`."""
    return groups.total(held.map(preparation.count_groups))


def translate_centroids(held: PersistedParts, segmenter: Segmenter, preparation: Preparation) -> NDArray[np.float64]:
    """Return the centroids of `segmenter` in the space of another preparation of the same features; see `translate`."""
    parts = held.map(partial(sum_shifts, previous=segmenter.preparation, centroids=segmenter.centroids, current=preparation))
    sums, counts = (np.sum(arrays, axis=0) for arrays in zip(*parts, strict=True))
    return translate(segmenter.centroids, sums, counts)


def write_part(
    customers: pd.DataFrame,
    first_row: int,
    previous: NDArray[np.int64] | None,
    *,
    segmenter: Segmenter,
    target: tuple[Path, str],
    scores: bool = False,
) -> PendingPart:
    """Write the rows of a part of segments.csv, or of the table of scores.

    They are assigned anew, which costs less than to send the assignments to wherever the part is.

    Parameters
    ----------
    first_row : the position of the first of `customers` in the whole table
    previous : their segment ids of before
    """
    assignment = assign(customers, segmenter.preparation, segmenter.centroids)
    rows = make_rows(customers, assignment, segmenter, previous, first_row)
    drafts: list[PendingPart] = []
    with drafting(*target, drafts) as file:
        written = write_rows(add_flags(rows, customers, segmenter) if scores else rows, file)
    assert written == len(customers), f"{len(customers)} customers came in, {written} went out"
    return drafts[0]


def map_with_previous_ids(
    held: PersistedParts, write: Callable[..., PendingPart], members: Members | None
) -> list[PendingPart]:
    """Call `write` with every part, the position of its first customer, and the segment ids that its customers had before."""
    ends = np.cumsum(held.map(len)).tolist()
    firsts = [0, *ends[:-1]]
    previous = [members.segment_ids[first:end] if members else None for first, end in zip(firsts, ends, strict=True)]
    return held.map(write, firsts, previous)
