"""What earlier stages of a run have written, verified before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stagekit.errors import DataError, MissingInputError
from stagekit.volume.artifact import Artifact
from stagekit.volume.manifest import MANIFEST_NAME, FileRecord, Manifest, format_validation_error, installed_versions
from stagekit.volume.parts import Part
from stagekit.volume.runs import run_folder

Model = TypeVar("Model", bound=BaseModel)


class UpstreamResults:
    """The artifacts of the stages of one run; `records` lists those that were read.

    Parameters
    ----------
    volume : Path
    run : str
    digests : mapping of str to str
        Expected SHA-256 of manifests, by stage: those that the stages reported.
    """

    def __init__(self, volume: Path, run: str, digests: Mapping[str, str]) -> None:
        self._run = run
        self._folder = volume / "runs" / run_folder(run)
        self._digests = digests
        self._manifests: dict[str, Manifest] = {}
        self.records: list[FileRecord] = []

    def parts(self, artifact: Artifact) -> list[Part]:
        """Return the parts of an artifact in order; any worker may read them with `Part.load`.

        Raises
        ------
        MissingInputError
            The stage that writes the artifact has not run, or a file is missing.
        DataError
            The artifact was written with other library versions, or as `manifest` does.
        """
        expected = self.manifest(artifact.stage).parts(artifact.name)
        folder = self._folder / artifact.stage
        absent = [record.name for record in expected if not (folder / record.name).is_file()]
        if absent or not expected:
            missing = (absent or [artifact.name])[0]
            raise MissingInputError(f"{artifact.stage}/{missing} is missing from run {self._run}: run {artifact.stage} again")
        self._refuse_other_versions(artifact)
        remedy = f"run {artifact.stage} again"
        parts = [
            Part(folder / record.name, _qualify_name(artifact.stage, record), artifact.format, remedy) for record in expected
        ]
        self.records += [part.expected for part in parts if part.expected not in self.records]
        return parts

    def load(self, artifact: Artifact) -> Any:
        """Read an artifact that has one part; raises as `parts` and `Part.open` do."""
        (part,) = self.parts(artifact)
        return part.load()

    def load_as(self, model: type[Model], artifact: Artifact) -> Model:
        """Read a JSON artifact as a model; raises as `load` does, and DataError if another version of its stage wrote it."""
        try:
            return model.model_validate(self.load(artifact))
        except ValidationError as error:
            raise DataError(
                f"{artifact.stage}/{artifact.name} is not as this version expects it ({format_validation_error(error)}): "
                f"run {artifact.stage} again"
            ) from None

    def manifest(self, stage: str) -> Manifest:
        """Read and verify the manifest of a stage, once.

        Raises
        ------
        MissingInputError
            The stage has not finished.
        DataError
            The manifest is damaged or not the one that the stage reported; or an upstream stage was run again since, with other
            results, so that the artifacts would belong to no single run.
        """
        if stage not in self._manifests:
            self._manifests[stage] = self._read_manifest(stage)  # before its sources: a forged manifest may name itself
            try:
                self._refuse_outdated(self._manifests[stage])
            except DataError:
                del self._manifests[stage]
                raise
        return self._manifests[stage]

    def _read_manifest(self, stage: str) -> Manifest:
        try:
            text = (self._folder / stage / MANIFEST_NAME).read_bytes()
        except FileNotFoundError:
            raise MissingInputError(f"{stage} has not finished in run {self._run}: run {stage} first") from None
        digest = hashlib.sha256(text).hexdigest()
        if digest != self._digests.get(stage, digest):
            raise DataError(
                f"the manifest of {stage} has sha256 {digest[:12]}…, the stage reported {self._digests[stage][:12]}…: "
                f"it was changed or damaged; run {stage} again"
            )
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            reason = format_validation_error(error)
            raise DataError(f"the manifest of {stage} cannot be read ({reason}); run {stage} again") from None
        if (manifest.run, manifest.stage) != (self._run, stage):
            raise DataError(f"the manifest of {stage} is that of {manifest.stage} in run {manifest.run}")
        return manifest

    def _refuse_outdated(self, manifest: Manifest) -> None:
        """Compare what a stage read with the current results of its upstream stages, the earliest one first.

        A stage whose folder was removed was not run again, so what was made of its results may still be used.
        """
        for source in manifest.sources():
            with suppress(MissingInputError):
                current = self.manifest(source)
                for name, digests in manifest.digests_read(source).items():
                    if digests != [record.sha256 for record in current.parts(name)]:
                        raise DataError(
                            f"{source} was run again after {manifest.stage} had read its {name}: "
                            f"run {manifest.stage} and the stages after it again, in their order"
                        )

    def _refuse_other_versions(self, artifact: Artifact) -> None:
        """Refuse an artifact whose format depends on library versions, if they differ."""
        written, installed = self.manifest(artifact.stage).versions, installed_versions(artifact.format.libraries)
        for library in artifact.format.libraries:
            if library in written and library in installed and written[library] != installed[library]:
                raise DataError(
                    f"{artifact.stage}/{artifact.name} was written with {library} {written[library]}, installed is "
                    f"{installed[library]}: run {artifact.stage} again, or this stage with the version that wrote it"
                )


def _qualify_name(stage: str, record: FileRecord) -> FileRecord:
    """Name a record by its path inside the run instead of inside the stage's folder."""
    part_of = record.part_of and f"{stage}/{record.part_of}"
    return record.model_copy(update={"name": f"{stage}/{record.name}", "part_of": part_of, "stage": stage})
