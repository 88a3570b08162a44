"""What the stages exchange: file names, and the only way in which a stage reads and writes the volume.

    runs/<run>/<stage>/<artifact>      what a stage wrote
    runs/<run>/<stage>/manifest.json   written last: the stage has happened
    model/                             what was last published

Everything is written under a temporary name, flushed to disk and renamed; every artifact is compared with the sha256 in its
manifest before it is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import ValidationError

from services.contract.errors import DataError, MissingInputError, PassingError, SetupError
from services.contract.manifest import MANIFEST_NAME, FileRecord, Manifest
from services.contract.pickles import load_pickle
from services.contract.runs import run_folder

TEMPORARY_SUFFIX = ".tmp"
LOCK_NAME = ".lock"


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
SEGMENTS = Artifact("segment", "segments.csv")
PROFILE = Artifact("segment", "profile.csv")
MIGRATION = Artifact("segment", "migration.csv")
POINTS = Artifact("segment", "points.csv")
REPORT = Artifact("report", "report.html")


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
        self._folder = volume / "runs" / run_folder(run) / stage
        self._manifests: dict[str, Manifest] = {}

    def __enter__(self) -> Workspace:
        if not self._volume.is_dir():
            raise SetupError(f"there is no volume at {self._volume}: mount it there, or name it with --volume")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder)
        self.discard()
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
        os.close(self._lock)

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
            self.inputs.append(_record(opened, path))
        return file

    def load(self, artifact: Artifact) -> Any:
        """Read an artifact of this run, after its bytes were found to be those that its stage wrote.

        Raises MissingInputError where its stage has not happened, DataError where anything differs from the manifests.
        """
        expected = self.manifest(artifact.stage).output(artifact.name)
        path = self._folder.parent / artifact.stage / artifact.name
        name = f"{artifact.stage}/{artifact.name}"
        if expected is None or not path.is_file():
            raise MissingInputError(f"{name} is missing from run {self.run}: run {artifact.stage} again")
        with path.open("rb") as file:
            found = _record(file, name)
            if found.sha256 != expected.sha256:
                raise DataError(
                    f"{name} has sha256 {found.sha256[:12]}…, its manifest says {expected.sha256[:12]}…: "
                    f"it was changed or damaged; run {artifact.stage} again"
                )
            self.inputs.append(found)
            file.seek(0)
            return json.load(file) if path.suffix == ".json" else load_pickle(file, name)

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
            self.outputs.append(_record(file, artifact.name))

    def commit(self, manifest: Manifest) -> str:
        """Put everything in its place and the manifest last; returns the manifest's sha256.

        Until the old manifest goes, an earlier try stands as it was; from then until the new one is there, the stage has
        not happened.
        """
        text = manifest.model_dump_json(indent=2).encode()
        _write(self._folder / (MANIFEST_NAME + TEMPORARY_SUFFIX), text)
        (self._folder / MANIFEST_NAME).unlink(missing_ok=True)
        names = {record.name for record in self.outputs}
        for stale in self._folder.iterdir():
            if stale.name not in names | {LOCK_NAME} and stale.suffix != TEMPORARY_SUFFIX:
                stale.unlink()
        for name in [*names, MANIFEST_NAME]:
            (self._folder / (name + TEMPORARY_SUFFIX)).rename(self._folder / name)
        _sync(self._folder)
        return hashlib.sha256(text).hexdigest()

    def publish(self, artifact: Artifact) -> None:
        """Copy an artifact that this stage wrote into `model/`, in one step for those who read there."""
        source = self._folder / (artifact.name + TEMPORARY_SUFFIX)
        model = self._volume / "model"
        model.mkdir(exist_ok=True)
        temporary = model / f"{artifact.name}.{run_folder(self.run)}{TEMPORARY_SUFFIX}"
        try:
            _write(temporary, source.read_bytes())
            temporary.rename(model / artifact.name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(model)

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
        self._manifests[stage] = manifest
        return manifest


def to_json(value: Any) -> bytes:
    """Write JSON for people; NaN and infinities, which JSON does not know, raise ValueError."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _record(file: BufferedReader | BufferedRandom, name: str) -> FileRecord:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(name=name, sha256=digest, bytes=file.tell())


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise PassingError(f"{folder} is in use by another process: wait for it to end, then run again") from None
    return descriptor


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
