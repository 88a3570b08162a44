"""The workspace of a stage: the only way in which it reads and writes the volume.

    runs/<run>/<stage>/<artifact>      what a stage wrote; a large artifact is a folder of parts (`parts.py`)
    runs/<run>/<stage>/manifest.json   written last: the stage has run
    runs/<run>/<stage>/faults.csv      what is wrong with a table that the stage refused; the next try removes it
    model/                             what is published (`model_store.py`)
    history/                           key figures of all runs (`history.py`)

Everything is written under a temporary name, flushed to disk and renamed. Every artifact is compared with the SHA-256 in its
manifest before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel

from stagekit.errors import MissingInputError, SetupError, StageError
from stagekit.pipeline import Pipeline
from stagekit.volume import files, history
from stagekit.volume.artifact import Artifact
from stagekit.volume.history import Entry, HistoryEntry
from stagekit.volume.manifest import FileRecord, Manifest
from stagekit.volume.model_store import ModelStore
from stagekit.volume.parts import OutputLocation, Part, PendingPart
from stagekit.volume.registry import Registry, RunEntry
from stagekit.volume.runs import run_folder
from stagekit.volume.stage_folder import StageFolder
from stagekit.volume.upstream import UpstreamResults
from stagekit.volume.user_files import UserFiles

Model = TypeVar("Model", bound=BaseModel)


class Workspace:
    """One stage of one run on the volume, as a context manager that holds the lock of the stage's folder.

    Accessing an artifact that the stage does not declare is an internal error (exit code 70).

    Parameters
    ----------
    pipeline : Pipeline
    stage : str
        Name of the stage.
    volume : Path
    run : str
    upstream : mapping of str to str
        SHA-256 of manifests, by stage, that upstream stages have reported.

    Attributes
    ----------
    user_files : UserFiles
        Files that users put on the volume.
    folder : StageFolder
        The stage's folder.
    decisions : dict of str to str
        What the settings leave open and the stage decided, with the reason.
    """

    def __init__(
        self, pipeline: Pipeline, stage: str, volume: Path, run: str, upstream: Mapping[str, str] | None = None
    ) -> None:
        self.run = run
        self.stage = stage
        self.decisions: dict[str, str] = {}
        self._declaration = pipeline[stage]
        self._volume = volume.absolute()  # workers of a cluster have other working directories
        self.user_files = UserFiles(self._volume)
        self.folder = StageFolder(self._volume, Path(self._declaration.folder.format(run=run_folder(run), stage=stage)))
        self._upstream = UpstreamResults(self._volume, run, upstream or {})
        self._store = ModelStore(self._volume, pipeline)
        self._published: list[FileRecord] = []
        self._after_commit: list[Callable[[], None]] = []
        self._is_store_locked = False
        self._closing = ExitStack()

    def __enter__(self) -> Workspace:
        if not self._volume.is_dir():
            raise SetupError(f"there is no volume at {self._volume}: mount it there, or name it with --volume")
        self.folder.open(self._closing)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def inputs(self) -> tuple[FileRecord, ...]:
        """Records of everything read so far."""
        return (*self.user_files.records, *self._upstream.records, *self._published)

    @property
    def outputs(self) -> tuple[FileRecord, ...]:
        """Records of everything written so far, under their final names if no more parts follow."""
        return self.folder.outputs

    # --- results of earlier stages

    def parts(self, artifact: Artifact) -> list[Part]:
        """Return the parts of an artifact of this run in order; see `UpstreamResults.parts`."""
        self._require(artifact, self._declaration.reads, "reads")
        return self._upstream.parts(artifact)

    def load(self, artifact: Artifact) -> Any:
        """Read an artifact of this run that has one part; see `UpstreamResults.load`."""
        self._require(artifact, self._declaration.reads, "reads")
        return self._upstream.load(artifact)

    def load_as(self, model: type[Model], artifact: Artifact) -> Model:
        """Read a JSON artifact of this run as a model; see `UpstreamResults.load_as`."""
        self._require(artifact, self._declaration.reads, "reads")
        return self._upstream.load_as(model, artifact)

    def manifest(self, stage: str) -> Manifest:
        """Read the manifest of an earlier stage of this run; see `UpstreamResults.manifest`."""
        return self._upstream.manifest(stage)

    # --- results of this stage

    def save(self, artifact: Artifact, value: Any) -> None:
        """Write an artifact, or its next part: one that is saved several times has as many parts."""
        self.add_part(artifact, self.output_location(artifact).write(value))

    def open_part(self, artifact: Artifact) -> AbstractContextManager[BinaryIO]:
        """Open an artifact, or its next part, for writing in pieces."""
        return self.output_location(artifact).open(self.folder.pending(artifact))

    def output_location(self, artifact: Artifact) -> OutputLocation:
        """Return where parts of an artifact are written, for workers that write them."""
        self._require(artifact, self._declaration.writes, "writes")
        return OutputLocation(self.folder.path, artifact)

    def add_part(self, artifact: Artifact, part: PendingPart) -> None:
        """Append a part that a worker has written."""
        self.folder.pending(artifact).append(part)

    def scratch(self) -> Path:
        """Create a folder for temporary data; it is removed when the stage ends."""
        return self.folder.scratch()

    def commit(self, manifest: Manifest) -> str:
        """Make the results final, then publish; return the SHA-256 of the manifest.

        A stage that is killed between the two ends with an exit code other than 0, and the next try publishes.
        """
        digest = self.folder.commit(manifest)
        for publish in self._after_commit:
            publish()
        return digest

    # --- published results

    def read_registry(self, *, lock: bool) -> Any:
        """Read the registry; `lock` prevents other stages from publishing until this stage ends.

        Raises
        ------
        TransientError
            Another stage holds the lock.
        DataError
            The registry is damaged.
        """
        if lock:
            self._lock_store()
        return self._store.read_registry()

    def _lock_store(self) -> None:
        if not self._is_store_locked:
            self._closing.callback(os.close, self._store.lock())
            self._is_store_locked = True

    def open_published(self, entry: RunEntry[Any], artifact: Artifact) -> Iterator[BinaryIO]:
        """Open the parts of an artifact that a run has published, one after the other; see `ModelStore.open`."""
        self._require(artifact, (*self._declaration.reads, *self._declaration.publishes), "reads")
        published = entry.publication.files if entry.publication else ()
        for name in [record.name for record in published if record.artifact == artifact.name] or [artifact.name]:
            file, record = self._store.open(entry, name)
            with file:
                self._published.append(record)
                yield file

    def open_made_from(self, entry: RunEntry[Any], artifact: Artifact) -> Iterator[BinaryIO]:
        """Open the parts of an artifact that a stage has made from what a run has published.

        Raises
        ------
        MissingInputError
            That stage has not run for this publication.
        DataError
            The artifact was changed or damaged.
        """
        self._require(artifact, self._declaration.reads, "reads")
        other = UpstreamResults(self._volume, entry.run, {})
        read = {record.sha256 for record in other.manifest(artifact.stage).inputs}
        published = entry.publication.files if entry.publication else ()
        if not read.intersection(record.sha256 for record in published):
            raise MissingInputError(f"{artifact.name} of run {entry.run} was made from an earlier publication of the run")
        for part in other.parts(artifact):
            with part.open() as file:
                name = f"runs/{run_folder(entry.run)}/{part.expected.name}"
                self._published.append(part.expected.model_copy(update={"name": name, "stage": None}))
                yield file

    def load_published(self, entry: RunEntry[Any], artifact: Artifact) -> Any:
        """Read an artifact of one part that a run has published; see `ModelStore.open`."""
        name = f"{artifact.name} of run {entry.run}"
        (value,) = (artifact.format.load(file, name) for file in self.open_published(entry, artifact))
        return value

    def publish_after_commit(self, artifact: Artifact) -> None:
        """Copy an artifact of one part to `model/` once this stage has committed; locks the model store.

        Raises
        ------
        MissingInputError, DataError
            The artifact of an earlier stage is missing or damaged.
        """
        self._require(artifact, self._declaration.publishes, "publishes")
        self._lock_store()
        if artifact.stage == self.stage:
            (record,) = [record for record in self.outputs if record.artifact == artifact.name]
            path = self.folder.path / record.name
        else:
            (part,) = self._upstream.parts(artifact)
            part.open().close()
            path, record = part.path, part.expected
        self._after_commit.append(lambda: self._store.publish_file(path, record))

    def update_registry_after_commit(
        self, registry: Registry[Any], metadata: Mapping[str, Any] | None, artifacts: Sequence[Artifact] = ()
    ) -> None:
        """Replace the registry once this stage has committed; requires that it was read with `lock`.

        Parameters
        ----------
        registry : Registry
            With an entry for this run.
        metadata : mapping or None
            What the publication records; None if the run is not published.
        artifacts : sequence of Artifact
            What is published; artifacts of this stage.
        """
        for artifact in artifacts:
            self._require(artifact, self._declaration.publishes, "publishes")

        def update() -> None:
            if metadata is None:
                self._store.write_registry(registry)
            else:
                names = [artifact.name for artifact in artifacts]
                records = [record for record in self.outputs if record.artifact in names]
                self._store.publish(registry, self.run, metadata, [(self.folder.path / one.name, one) for one in records])

        self._after_commit.append(update)

    # --- history

    def read_history(self, model: type[Entry]) -> list[Entry]:
        """Read the key figures of all runs on the volume, in the order in which they started; see `history.py`."""
        path = self._volume / history.FILE_NAME
        if path.is_file():
            self.user_files.record([files.digest_file(path, history.FILE_NAME)])
        return history.read_history(self._volume, model)

    def record_in_history(self, entry: HistoryEntry) -> None:
        """Add the key figures of this run to the history once this stage has committed."""
        self._after_commit.append(lambda: history.record_run(self._volume, entry))

    def _require(self, artifact: Artifact, declared: tuple[Artifact, ...], verb: str) -> None:
        if artifact not in declared:
            names = ", ".join(f"{one.stage}/{one.name}" for one in declared) or "nothing"
            raise StageError(
                f"{self.stage} accesses {artifact.stage}/{artifact.name}, but declares that it {verb} {names}: "
                "add the artifact to the stage in services/pipeline.py"
            )
