"""The manifest: what a stage read, wrote and was configured with. It is written last; a stage without one has not run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import to_json

from stagekit.serialization import VOLUME_PATH

MANIFEST_NAME = "manifest.json"


class FileRecord(BaseModel):
    """One file, by its path inside the volume (inputs) or inside the stage's folder (outputs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=VOLUME_PATH)
    sha256: str
    bytes: int
    part_of: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The name of the artifact that the file is one of several parts of."""
    stage: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$", exclude_if=lambda stage: stage is None)
    """Of an input, the stage of the same run that wrote it; None for every other file."""

    @property
    def artifact(self) -> str:
        """The name of the artifact that the file belongs to."""
        return self.part_of or self.name


class ChecksummedModel(BaseModel):
    """JSON that contains a SHA-256 of the rest of it, to detect damage. It does not prevent forgery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str | None = None
    """Of the JSON without this field, as pydantic writes it; None for a model that was never written."""

    def to_checksummed_json(self) -> bytes:
        """Return the JSON with its checksum."""
        digest = hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()
        return self.model_copy(update={"sha256": digest}).model_dump_json(indent=2).encode()

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Convert the content of a file with an older schema version; a subclass overrides this."""
        return data

    @model_validator(mode="before")
    @classmethod
    def _verify(cls, data: Any, info: ValidationInfo) -> Any:
        if info.mode != "json" or not isinstance(data, dict):
            return data
        if data.get("sha256") is None:
            raise ValueError("it contains no sha256 of itself: another program wrote it")
        # Of the content as it was written: an older schema version has other fields.
        content = {name: value for name, value in data.items() if name != "sha256"}
        if data["sha256"] != hashlib.sha256(to_json(content)).hexdigest():
            raise ValueError("it was changed or damaged")
        return cls.migrate(content)


class Manifest(ChecksummedModel):
    """One stage of one run."""

    schema_version: Literal[1] = 1
    run: str
    stage: str
    inputs: tuple[FileRecord, ...]
    outputs: tuple[FileRecord, ...]
    settings: dict[str, Any]
    setting_sources: dict[str, str]
    """Where each setting came from: flag, environment, form, variable or default."""
    decisions: dict[str, str] = {}
    """What the settings left open and the stage decided, with the reason."""
    result: Any
    image: str | None
    versions: dict[str, str]
    started: datetime
    ended: datetime
    exit_reason: str
    peak_memory_mib: int | None = None
    """Peak memory of the stage's largest process; workers of a cluster are not included."""

    def sources(self) -> list[str]:
        """Return the stages of the same run whose artifacts were read, in the order of reading."""
        return list(dict.fromkeys(record.stage for record in self.inputs if record.stage))

    def digests_read(self, stage: str) -> dict[str, list[str]]:
        """Return the SHA-256 of each part of every artifact that was read from `stage`, by the name of the artifact."""
        digests: dict[str, list[str]] = {}
        for record in self.inputs:
            if record.stage == stage:
                digests.setdefault(record.artifact.removeprefix(f"{stage}/"), []).append(record.sha256)
        return digests

    def parts(self, name: str) -> list[FileRecord]:
        """Return the records of an artifact's parts in order; an empty list if the stage did not write it."""
        return [record for record in self.outputs if record.artifact == name]


def format_validation_error(error: ValidationError) -> str:
    """Describe the first error of a JSON document in a few words."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return ": ".join([".".join(map(str, first["loc"])), message]) if first["loc"] else message


def installed_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the version of Python and of those of the libraries that are installed."""
    versions = {"python": platform.python_version()}
    for library in libraries:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
