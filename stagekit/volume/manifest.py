"""What a stage writes last: what it read, what it wrote, and how. A stage without a manifest has not happened."""

from __future__ import annotations

import hashlib
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from stagekit.serialization import VOLUME_PATH

MANIFEST_NAME = "manifest.json"
PICKLE_VERSION_SENSITIVE = ("pandas", "scikit-learn")
"""Libraries whose pickles only the same version is sure to understand: they hold private classes and attributes."""


class FileRecord(BaseModel):
    """One file, by its path inside the volume (inputs) or inside the stage's folder (outputs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=VOLUME_PATH)
    sha256: str
    bytes: int
    part_of: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The name that the artifact would have in one piece, where it is one of several parts."""
    stage: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", exclude_if=lambda stage: stage is None)
    """Of an input, the stage of the same run that wrote it; None for every other file."""

    @property
    def artifact(self) -> str:
        return self.part_of or self.name


class ChecksummedModel(BaseModel):
    """JSON that carries a digest of everything else in it, so that damage shows wherever it is. It does not stop forgers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str | None = None
    """Of the JSON without it, in pydantic's spelling; None until it is written."""

    def sealed(self) -> bytes:
        """Write it, with its digest."""
        return self.model_copy(update={"sha256": self._digest()}).model_dump_json(indent=2).encode()

    def _digest(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    @model_validator(mode="after")
    def _agree(self, info: ValidationInfo) -> Self:
        if self.sha256 is None and info.mode == "json":
            raise ValueError("it has no sha256 of itself: something else wrote it")
        if self.sha256 not in (None, self._digest()):
            raise ValueError("it was changed or damaged")
        return self


class Manifest(ChecksummedModel):
    """One stage of one run."""

    schema_version: Literal[1] = 1
    run: str
    stage: str
    inputs: tuple[FileRecord, ...]
    outputs: tuple[FileRecord, ...]
    settings: dict[str, Any]
    setting_sources: dict[str, str]
    """Where each setting came from: flag, environment or default."""
    decisions: dict[str, str] = {}
    """What the settings left open and the stage decided, with the reason."""
    result: Any
    image: str | None
    versions: dict[str, str]
    started: datetime
    ended: datetime
    exit_reason: str
    peak_memory_mib: int | None = None
    """The most memory that one of its processes had; those of a cluster are not among them."""

    def sources(self) -> list[str]:
        """Name the stages of the same run whose artifacts were read, in the order of reading."""
        return list(dict.fromkeys(record.stage for record in self.inputs if record.stage))

    def digests_read(self, stage: str) -> dict[str, list[str]]:
        """Find the SHA-256 of each part of every artifact that was read from `stage`, by the name of the artifact."""
        digests: dict[str, list[str]] = {}
        for record in self.inputs:
            if record.stage == stage:
                digests.setdefault(record.artifact.removeprefix(f"{stage}/"), []).append(record.sha256)
        return digests

    def parts(self, name: str) -> list[FileRecord]:
        """Find what was written of an artifact, in order: one record for each part, none where it was not written."""
        return [record for record in self.outputs if record.artifact == name]


def explain(error: ValidationError) -> str:
    """Say in a few words why JSON is not what it should be."""
    first = error.errors(include_url=False)[0]
    what = first["msg"].removeprefix("Value error, ")
    return ": ".join([".".join(map(str, first["loc"])), what]) if first["loc"] else what


def installed_versions() -> dict[str, str]:
    """The versions that a manifest names: Python's, and those of the libraries that are there."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "pandas", "scikit-learn", "kneed", "matplotlib", "jinja2", "pydantic"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
