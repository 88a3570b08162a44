"""model/segments.json: which segments are active, and every segment that there has ever been."""

from __future__ import annotations

from typing import ClassVar

from services.contract.results import ResultModel
from stagekit.volume.registry import Publication, Registry, RunEntry


class Deciles(ResultModel):
    """The distribution of a feature over its deciles, to measure drift later."""

    edges: tuple[float, ...]
    """Distinct deciles, ascending, in the units of the table: each bin includes its upper edge."""
    shares: tuple[float, ...]
    """Share of the customers in each bin, in the bin above the last edge, and last of those without a value."""


class PublicationMetadata(ResultModel):
    """What a publication records about its segments."""

    segments: dict[int, str]
    """Id and name of each segment."""
    deciles: dict[str, Deciles]


class SegmentPublication(Publication, PublicationMetadata):
    """What a run has published."""


class RegisteredSegment(ResultModel):
    """A segment id that is in use, and is never given to another segment."""

    segment_id: int
    name: str
    """The generated name; a name that the user gives takes precedence and is not recorded here."""
    run: str
    """The run that gave the id."""
    centroid: dict[str, float]
    """Mean of the segment's customers in that run, in the units of the table."""


SegmentRunEntry = RunEntry[SegmentPublication]


class SegmentRegistry(Registry[SegmentPublication]):
    """The content of segments.json."""

    file_name: ClassVar[str] = "segments.json"
    publication_type: ClassVar[type[Publication]] = SegmentPublication
    remedy: ClassVar[str] = "run segment for run {run} again, with --publish=always if need be"

    segments: tuple[RegisteredSegment, ...] = ()
    """Every segment that there has ever been, in published and unpublished runs."""

    def with_segments(self, segments: tuple[RegisteredSegment, ...]) -> SegmentRegistry:
        """Return a registry that also contains these segments; they replace those with the same ids."""
        by_id = {segment.segment_id: segment for segment in (*self.segments, *segments)}
        return self.model_copy(update={"segments": tuple(by_id.values())})
