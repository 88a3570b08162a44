"""What the stages exchange: file names, and the only way in which a stage reads and writes the volume.

    runs/<run>/<stage>/<artifact>      what a stage wrote
    runs/<run>/<stage>/manifest.json   written last: the stage has happened
    scores/<name>/                     the same for customers who are scored without a run
    model/                             what is in force (`publishing.py`)

Everything is written under a temporary name, flushed to disk and renamed; every artifact is compared with the sha256 in its
manifest before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import ValidationError

from services.contract import files
from services.contract.errors import DataError, MissingInputError, SetupError
from services.contract.files import LOCK_NAME, TEMPORARY_SUFFIX
from services.contract.manifest import MANIFEST_NAME, FileRecord, Manifest
from services.contract.pickles import load_pickle
from services.contract.publishing import ModelFolder
from services.contract.register import Contents, Register, RunEntry
from services.contract.runs import run_folder


class Artifact(NamedTuple):
    """A file that `stage` writes."""

    stage: str
    name: str


CUSTOMERS = Artifact("extract", "customers.pkl")
FEATURES = Artifact("transform", "features.pkl")
DROPPED = Artifact("transform", "dropped.csv")
MODEL = Artifact("train", "kmeans_custom.sav")
SWEEP = Artifact("train", "sweep.pkl")
METRICS = Artifact("train", "metrics.json")
EVALUATION = Artifact("evaluate", "evaluation.json")
SEGMENTATION = Artifact("segment", "segmentation.json")
SEGMENTER = Artifact("segment", "segmenter.pkl")
SEGMENTS = Artifact("segment", "segments.csv")
PROFILE = Artifact("segment", "profile.csv")
MIGRATION = Artifact("segment", "migration.csv")
POINTS = Artifact("segment", "points.csv")
REPORT = Artifact("report", "report.html")
SCORES = Artifact("score", "segments.csv")


class Workspace:
    """One stage of one run on the volume: reads what other stages wrote, writes into a folder of its own.

    Use as a context manager: it holds the folder's lock from start to end. Nothing of an earlier try changes until `commit`.
    """

    def __init__(self, volume: Path, run: str, stage: str, upstream: dict[str, str]) -> None:
        self.run = run
        self.stage = stage
        self.inputs: list[FileRecord] = []
        self.outputs: list[FileRecord] = []
        self._volume = volume
        self._upstream = upstream
        self.place = _place(run, stage)
        """Its folder inside the volume."""
        self._folder = volume / self.place
        self._manifests: dict[str, Manifest] = {}
        self._read_by: dict[str, tuple[str, str]] = {}
        self._model = ModelFolder(volume)
        self._after_commit: list[Callable[[], None]] = []
        self._closing = ExitStack()

    def __enter__(self) -> Workspace:
        if not self._volume.is_dir():
            raise SetupError(f"there is no volume at {self._volume}: mount it there, or name it with --volume")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._closing.callback(os.close, files.lock(self._folder))
        self._closing.callback(self.discard)
        self.discard()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def discard(self) -> None:
        """Remove what was written and not committed, by this process or by one that was killed."""
        for leftover in self._folder.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    def data_file(self, path: str) -> Path:
        """Locate a file of the user's on the volume and record its digest.

        Raises MissingInputError where there is none, DataError where it is not a file inside the volume.
        """
        file = self._volume / path
        if not file.exists():
            raise MissingInputError(f"there is no file {path} on the volume: put it there, or name another one")
        if not file.resolve().is_relative_to(self._volume.resolve()):
            raise DataError(f"{path} is a link that leads out of the volume: put the file itself there")
        if not file.is_file():
            raise DataError(f"{path} is not a file")
        with file.open("rb") as opened:
            self.inputs.append(files.record(opened, path))
        return file

    def has_data_file(self, path: str) -> bool:
        return (self._volume / path).exists()

    def load(self, artifact: Artifact) -> Any:
        """Read an artifact of this run, after its bytes were found to be those that its stage wrote; CSV and HTML come as text.

        Raises MissingInputError where its stage has not happened, DataError where anything differs from the manifests.
        """
        expected = self.manifest(artifact.stage).output(artifact.name)
        path = self._folder.parent / artifact.stage / artifact.name
        name = f"{artifact.stage}/{artifact.name}"
        if expected is None or not path.is_file():
            raise MissingInputError(f"{name} is missing from run {self.run}: run {artifact.stage} again")
        with path.open("rb") as file:
            found = files.record(file, name)
            if found.sha256 != expected.sha256:
                raise DataError(
                    f"{name} has sha256 {found.sha256[:12]}…, its manifest says {expected.sha256[:12]}…: "
                    f"it was changed or damaged; run {artifact.stage} again"
                )
            self._agree(found, self.stage)
            self.inputs.append(found)
            file.seek(0)
            match path.suffix:
                case ".json":
                    return json.load(file)
                case ".csv" | ".html":
                    return file.read().decode()
                case _:
                    return load_pickle(file, name)

    def save(self, artifact: Artifact, value: Any) -> None:
        """Write an artifact by its suffix: JSON, text, or else a pickle."""
        with self.writing(artifact) as file:
            match Path(artifact.name).suffix:
                case ".json":
                    file.write(to_json(value))
                case ".csv" | ".html":
                    file.write(value.encode())
                case _:
                    pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    @contextmanager
    def writing(self, artifact: Artifact) -> Iterator[BinaryIO]:
        """Open an artifact for those that write it in pieces."""
        assert artifact.stage == self.stage, f"{self.stage} must not write {artifact}"
        temporary = self._folder / (artifact.name + TEMPORARY_SUFFIX)
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            self.outputs.append(files.record(file, artifact.name))

    def commit(self, manifest: Manifest) -> str:
        """Put everything in its place and the manifest last; returns the manifest's sha256.

        Until the old manifest goes, an earlier try stands as it was; from then until the new one is there, the stage has
        not happened. What is to be published is published after that: a stage that is killed in between ends with an exit code
        other than 0, and the next try publishes.
        """
        text = manifest.model_dump_json(indent=2).encode()
        files.write(self._folder / (MANIFEST_NAME + TEMPORARY_SUFFIX), text)
        (self._folder / MANIFEST_NAME).unlink(missing_ok=True)
        names = {record.name for record in self.outputs}
        for stale in self._folder.iterdir():
            if stale.name not in names | {LOCK_NAME} and stale.suffix != TEMPORARY_SUFFIX:
                stale.unlink()
        for name in [*names, MANIFEST_NAME]:
            (self._folder / (name + TEMPORARY_SUFFIX)).rename(self._folder / name)
        files.sync(self._folder)
        for publish in self._after_commit:
            publish()
        return hashlib.sha256(text).hexdigest()

    def publish(self, artifact: Artifact) -> None:
        """Have an artifact that this stage writes copied into `model/`, once the stage has happened."""
        self._after_commit.append(lambda: self._model.publish_file(self._folder / artifact.name))

    def register(self, *, hold: bool) -> Register:
        """Read which segments are in force; `hold` keeps others from publishing any until this stage has ended.

        Raises PassingError where another stage holds them.
        """
        if hold:
            self._closing.callback(os.close, self._model.lock())
        return self._model.read()

    def open_published(self, entry: RunEntry, artifact: Artifact) -> BinaryIO:
        """Open what a run has published, after its bytes were found to be those; raises as `load` does."""
        file, found = self._model.open(entry, artifact.name)
        self._closing.enter_context(file)
        self.inputs.append(found)
        return file

    def load_published(self, entry: RunEntry, artifact: Artifact) -> Any:
        """Unpickle what a run has published; raises as `load` does."""
        return load_pickle(self.open_published(entry, artifact), f"{artifact.name} of run {entry.run}")

    def enter_register(self, register: Register, contents: Contents | None, artifacts: Sequence[Artifact] = ()) -> None:
        """Have the register replaced once the stage has happened; with `contents`, `artifacts` of this run come into force."""

        def enter() -> None:
            if contents is None:
                self._model.write(register)
            else:
                records = {record.name: record for record in self.outputs}
                sources = [(self._folder / artifact.name, records[artifact.name]) for artifact in artifacts]
                self._model.publish(register, self.run, contents, sources)

        self._after_commit.append(enter)

    def manifest(self, stage: str) -> Manifest:
        """Read the manifest of another stage of this run, once."""
        if stage in self._manifests:
            return self._manifests[stage]
        path = self._folder.parent / stage / MANIFEST_NAME
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise MissingInputError(f"{stage} has not finished in run {self.run}: run {stage} first") from None
        digest = hashlib.sha256(text).hexdigest()
        if digest != self._upstream.get(stage, digest):
            raise DataError(
                f"the manifest of {stage} has sha256 {digest[:12]}…, the stage reported {self._upstream[stage][:12]}…: "
                f"it was changed or damaged; run {stage} again"
            )
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            what = error.errors()[0]
            raise DataError(
                f"the manifest of {stage} cannot be read ({what['loc']}: {what['msg']}); run {stage} again"
            ) from None
        if (manifest.run, manifest.stage) != (self.run, stage):
            raise DataError(f"the manifest of {stage} is that of {manifest.stage} in run {manifest.run}")
        for record in manifest.inputs:
            self._agree(record, stage)
        self._manifests[stage] = manifest
        return manifest

    def _agree(self, record: FileRecord, reader: str) -> None:
        """Refuse to mix what was made before a stage was run again with what was made after."""
        sha256, other = self._read_by.setdefault(record.name, (record.sha256, reader))
        if sha256 != record.sha256:
            source = record.name.partition("/")[0]
            raise DataError(
                f"{record.name} has changed between {other} and {reader}: run all stages after {source} again, in their order"
            )


def _place(run: str, stage: str) -> Path:
    return Path("scores", run_folder(run)) if stage == SCORES.stage else Path("runs", run_folder(run), stage)


def to_json(value: Any) -> bytes:
    """Write JSON for people; NaN and infinities, which JSON does not know, raise ValueError."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
