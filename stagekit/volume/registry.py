"""The registry: which run is active, and all that were published before it.

It is written whole, under a lock, by the stage that publishes. A folder in `model/published/` counts only if the registry
names it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from stagekit.volume.manifest import ChecksummedModel, FileRecord

MAX_KEPT_RUNS = 5
"""Number of runs whose published files are kept: the active one and those that were published last before it."""


class Publication(BaseModel):
    """What a run has published. A subclass adds what the pipeline records about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(pattern=r"^\d{6,}-[a-z0-9_-]+$")
    """Inside model/published/."""
    published: datetime
    files: tuple[FileRecord, ...]


P = TypeVar("P", bound=Publication)


class RunEntry(BaseModel, Generic[P]):
    """One run that reached the publishing stage, published or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    first_published: datetime | None = None
    predecessor: str | None = None
    """The run that was active just before this one was published for the first time."""
    publication: P | None = None
    """None if the run was not published or its files are no longer kept."""


class Registry(ChecksummedModel, Generic[P]):
    """The content of the registry file."""

    file_name: ClassVar[str] = "registry.json"
    publication_type: ClassVar[type[Publication]] = Publication
    remedy: ClassVar[str] = "publish run {run} again"
    """What to do if a published file is missing or damaged."""

    schema_version: Literal[2] = 2
    active_run: str | None = None
    publications: int = 0
    """Number of publications so far; it numbers their folders."""
    runs: tuple[RunEntry[P], ...] = ()
    """In the order in which they reached the publishing stage for the first time."""

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Convert schema version 1, which called the active run `in_force`."""
        if data.get("schema_version") == 1 and "in_force" in data:
            data = {**data, "schema_version": 2, "active_run": data["in_force"]}
            del data["in_force"]
        return data

    def entry(self, run: str | None) -> RunEntry[P] | None:
        """Return the entry of a run, or None."""
        return next((entry for entry in self.runs if entry.run == run), None)

    def kept_runs(self) -> list[RunEntry[P]]:
        """Return the runs whose published files are kept, the latest publication first."""
        entries = [entry for entry in self.runs if entry.publication]
        return sorted(entries, key=lambda entry: entry.publication.folder if entry.publication else "", reverse=True)

    def with_run(self, run: str) -> Self:
        """Return a registry with an entry for `run`."""
        return self if self.entry(run) else self.model_copy(update={"runs": (*self.runs, RunEntry(run=run))})

    def with_publication(self, run: str, publication: Publication) -> Self:
        """Return a registry in which `run`, which has an entry, is active; only the last publications keep their files."""

        def publish(entry: RunEntry[P]) -> RunEntry[P]:
            if entry.run != run:
                return entry
            first = {"first_published": publication.published, "predecessor": self.active_run}
            return entry.model_copy(update={"publication": publication, **({} if entry.first_published else first)})

        runs = tuple(publish(entry) for entry in self.runs)
        return self.model_copy(update={"active_run": run, "publications": self.publications + 1, "runs": runs})._pruned()

    def _pruned(self) -> Self:
        kept = {entry.run for entry in self.kept_runs()[:MAX_KEPT_RUNS]}
        runs = (entry if entry.run in kept else entry.model_copy(update={"publication": None}) for entry in self.runs)
        return self.model_copy(update={"runs": tuple(runs)})
