"""What a stage writes last: what it read, what it wrote, and how. A stage without a manifest has not happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "manifest.json"


class FileRecord(BaseModel):
    """One file, by its path inside the volume (inputs) or inside the stage's folder (outputs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    bytes: int
    part_of: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The name that the artifact would have in one piece, where it is one of several parts."""

    @property
    def artifact(self) -> str:
        return self.part_of or self.name


class Manifest(BaseModel):
    """One stage of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    run: str
    stage: str
    inputs: tuple[FileRecord, ...]
    outputs: tuple[FileRecord, ...]
    settings: dict[str, Any]
    setting_sources: dict[str, str]
    """Where each setting came from: flag, environment or default."""
    result: Any
    image: str | None
    versions: dict[str, str]
    started: datetime
    ended: datetime
    exit_reason: str

    def parts(self, name: str) -> list[FileRecord]:
        """Find what was written of an artifact, in order: one record for each part, none where it was not written."""
        return [record for record in self.outputs if record.artifact == name]
