"""Decide whether a run may come into force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from services.contract.results import Segment


class Floors(NamedTuple):
    """What a run has to reach."""

    silhouette: float
    stability: float
    unassigned: float
    """The largest share of customers without a segment."""
    publish_anyway: bool = False
    """Whether a run that misses some comes into force all the same."""


def find_misses(
    segments: tuple[Segment, ...], silhouette: float, unassigned: int, rows: int, newer: str | None, floors: Floors
) -> Iterator[str]:
    """Say for each floor that a run misses which one and by how much.

    Parameters
    ----------
    silhouette : mean over the customers
    newer : the run in force, where this one is a re-run of an older one
    """
    for segment in segments:
        if segment.customers == 0:
            yield f"segment {segment.segment_id} ({segment.name}) is empty"
    if silhouette < floors.silhouette:
        yield f"the silhouette is {silhouette:.3f}, less than {floors.silhouette:g}"
    for segment in segments:
        if segment.jaccard is not None and segment.jaccard < floors.stability:
            yield (
                f"segment {segment.segment_id} ({segment.name}) has a stability of {segment.jaccard:.3f}, "
                f"less than {floors.stability:g}"
            )
    if unassigned / rows > floors.unassigned:
        share = f"{100 * unassigned / rows:.3g}%"
        yield f"{unassigned} of {rows} customers have no segment: {share}, more than {100 * floors.unassigned:.3g}%"
    if newer is not None:
        yield f"run {newer} is in force and newer than this one"
