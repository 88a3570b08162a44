"""What a stage writes last: what it read, what it wrote, and how. A stage without a manifest has not happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

MANIFEST_NAME = "manifest.json"


class FileRecord(BaseModel):
    """One file, by its path inside the volume (inputs) or inside the stage's folder (outputs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    bytes: int


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

    def output(self, name: str) -> FileRecord | None:
        return next((record for record in self.outputs if record.name == name), None)
