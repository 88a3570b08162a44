"""model/segments.json: which segments are in force, and all that came before them.

Written whole, under a lock, by whoever publishes; everything else in `model/published/` counts only because it is named here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from services.contract.results import Result
from stagekit.volume.manifest import ChecksummedModel, FileRecord

KEPT = 5
"""How many runs keep their published files: the one in force and those that were published last before it."""


class Deciles(Result):
    """How the customers were spread over the values of a feature, in order to see later how far that has moved."""

    edges: tuple[float, ...]
    """Distinct deciles, ascending, in the units of the table: each bin goes up to and with its edge."""
    shares: tuple[float, ...]
    """Share of the customers in each bin, in the bin above the last edge, and last of those without a value."""


class Contents(Result):
    """What a publication says about itself."""

    segments: dict[int, str]
    """Id and name of each segment."""
    deciles: dict[str, Deciles]


class Publication(Contents):
    """What a run has published, with the files that belong together."""

    folder: str = Field(pattern=r"^\d{6,}-[a-z0-9_-]+$")
    """Inside model/published/."""
    published: datetime
    files: tuple[FileRecord, ...]


class RunEntry(Result):
    """One run that came to the stage segment, published or held back."""

    run: str
    first_published: datetime | None = None
    predecessor: str | None = None
    """The run that was in force just before this one was published for the first time."""
    publication: Publication | None = None
    """None where it was held back, or is no longer kept."""


class RegisteredSegment(Result):
    """A segment id that has been given, and so is never given to another segment."""

    segment_id: int
    name: str
    """Its generated name; a name that the user gives takes precedence and is not recorded here."""
    run: str
    """The run that gave it."""
    centroid: dict[str, float]
    """Mean of its customers in that run, in the units of the table."""


class Register(ChecksummedModel):
    """segments.json"""

    schema_version: Literal[1] = 1
    in_force: str | None = None
    publications: int = 0
    """How many there have been; numbers their folders."""
    runs: tuple[RunEntry, ...] = ()
    """In the order in which they came for the first time."""
    segments: tuple[RegisteredSegment, ...] = ()
    """Every segment that there has ever been, in published runs and in such that were held back."""

    def entry(self, run: str | None) -> RunEntry | None:
        return next((entry for entry in self.runs if entry.run == run), None)

    def kept(self) -> list[RunEntry]:
        """The runs whose published files are there, the latest publication first."""
        entries = [entry for entry in self.runs if entry.publication]
        return sorted(entries, key=lambda entry: entry.publication.folder if entry.publication else "", reverse=True)

    def with_entry(self, run: str, segments: tuple[RegisteredSegment, ...]) -> Register:
        """Add a run and the segments to which it gave ids; a segment that is there is replaced."""
        runs = self.runs if self.entry(run) else (*self.runs, RunEntry(run=run))
        by_id = {segment.segment_id: segment for segment in (*self.segments, *segments)}
        return self.model_copy(update={"runs": runs, "segments": tuple(by_id.values())})

    def with_publication(self, run: str, publication: Publication) -> Register:
        """Put a run in force that has an entry, and forget the files of those beyond the last few."""

        def published(entry: RunEntry) -> RunEntry:
            if entry.run != run:
                return entry
            first = {} if entry.first_published else {"first_published": publication.published, "predecessor": self.in_force}
            return entry.model_copy(update={"publication": publication, **first})

        runs = tuple(published(entry) for entry in self.runs)
        changed = self.model_copy(update={"in_force": run, "publications": self.publications + 1, "runs": runs})
        return changed._pruned()

    def _pruned(self) -> Register:
        kept = {entry.run for entry in self.kept()[:KEPT]}
        runs = (entry if entry.run in kept else entry.model_copy(update={"publication": None}) for entry in self.runs)
        return self.model_copy(update={"runs": tuple(runs)})
