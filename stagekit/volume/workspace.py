"""What the stages exchange: file names, and the only way in which a stage reads and writes the volume.

    runs/<run>/<stage>/<artifact>      what a stage wrote; a large artifact is a folder of parts (`parts.py`)
    runs/<run>/<stage>/manifest.json   written last: the stage has happened
    runs/<run>/<stage>/faults.csv      what is wrong with a table that the stage refused; the next try removes it
    scores/<name>/                     the same for customers who are scored without a run
    model/                             what is in force (`publishing.py`)

Everything is written under a temporary name, flushed to disk and renamed; every artifact is compared with the sha256 in its
manifest before it is used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from stagekit.errors import DataError, MissingInputError, SetupError, UsageError
from stagekit.tables.faults import FAULTS_NAME
from stagekit.volume import files, history
from stagekit.volume.files import LOCK_NAME, TEMPORARY_SUFFIX
from stagekit.volume.history import Entry
from stagekit.volume.manifest import MANIFEST_NAME, PICKLE_VERSION_SENSITIVE, FileRecord, Manifest, explain, installed_versions
from stagekit.volume.model_store import ModelStore
from stagekit.volume.parts import Part, PendingPart, drafting, place, save_draft
from stagekit.volume.pickles import load_pickle
from stagekit.volume.registry import Contents, Register, RunEntry
from stagekit.volume.runs import run_folder

Model = TypeVar("Model", bound=BaseModel)


class Artifact(NamedTuple):
    """What `stage` writes under `name`."""

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
DESCRIPTION = Artifact("segment", "description.csv")
RULES = Artifact("segment", "rules.json")
REPORT = Artifact("report", "report.html")
SCORES = Artifact("score", "segments.csv")
CHANGED = Artifact("changes", "changed.csv")
CRM = Artifact("changes", "crm.csv")


class Workspace:
    """One stage of one run on the volume: reads what other stages wrote, writes into a folder of its own.

    Use as a context manager: it holds the folder's lock from start to end. Nothing of an earlier try changes until `commit`.
    """

    def __init__(self, volume: Path, run: str, stage: str, upstream: dict[str, str]) -> None:
        self.run = run
        self.stage = stage
        self.inputs: list[FileRecord] = []
        self.decisions: dict[str, str] = {}
        """What its settings leave open and the stage decided, with the reason."""
        self._volume = volume.absolute()  # workers of a cluster are in other working folders
        self._upstream = upstream
        self.place = _place(run, stage)
        """Its folder inside the volume."""
        self._folder = self._volume / self.place
        self._drafts: dict[str, list[PendingPart]] = {}
        self._manifests: dict[str, Manifest] = {}
        self._model = ModelStore(volume)
        self._after_commit: list[Callable[[], None]] = []
        self._closing = ExitStack()

    def __enter__(self) -> Workspace:
        if not self._volume.is_dir():
            raise SetupError(f"there is no volume at {self._volume}: mount it there, or name it with --volume")
        if not self._folder.resolve().is_relative_to(self._volume.resolve()):
            raise SetupError(f"{self.place} is behind a link that leads out of the volume: put a folder there")
        is_new = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._closing.callback(os.close, files.lock(self._folder))
        if is_new:
            self._closing.callback(self._vanish)
        self._closing.callback(self.discard)
        self.discard()
        (self._folder / FAULTS_NAME).unlink(missing_ok=True)  # of a try before this one
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def discard(self) -> None:
        """Remove what was written and not committed, by this process or by one that was killed."""
        for leftover in self._folder.glob(f"*{TEMPORARY_SUFFIX}"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def _vanish(self) -> None:
        """Take away a folder in which nothing has come about: a mistyped run should not appear among the runs."""
        if not (self._folder / MANIFEST_NAME).exists():
            (self._folder / LOCK_NAME).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                self._folder.rmdir()
                self._folder.parent.rmdir()

    def data_file(self, path: str) -> Path:
        """Locate a file of the user's on the volume and record its digest.

        Raises MissingInputError where there is none, DataError where it is not a file inside the volume.
        """
        file = self._locate(path)
        self.inputs.append(files.digest_file(file, path))
        return file

    def data_files(self, path: str) -> dict[str, Path]:
        """Locate the tables that `path` names, in the order of their names: a file, all of a folder, or those of a pattern.

        In a folder these are *.csv, *.csv.gz and *.parquet. Raises as `data_file` does. The caller records them with `read`.
        """
        found: Iterable[Path] = [self._volume / path]
        if (self._volume / path).is_dir():
            suffixes = (".csv", ".csv.gz", ".parquet")
            found = [file for file in (self._volume / path).iterdir() if file.name.lower().endswith(suffixes)]
        elif any(sign in path for sign in "*?[") and not (self._volume / path).exists():
            try:
                found = [file for file in self._volume.glob(path) if not file.is_dir()]
            except ValueError as error:
                raise UsageError(f"{path} cannot be used as a pattern: {error}") from None
        names = sorted(str(file.relative_to(self._volume)) for file in found)
        if not names:
            raise MissingInputError(f"{path} names no CSV or Parquet file on the volume: put some there, or name others")
        return {name: self._locate(name) for name in names}

    def read(self, records: Iterable[FileRecord]) -> None:
        """Record what was read of the user's files."""
        self.inputs += records

    def _locate(self, path: str) -> Path:
        file = self._volume / path
        if not file.exists():
            raise MissingInputError(f"there is no file {path} on the volume: put it there, or name another one")
        if not file.resolve().is_relative_to(self._volume.resolve()):
            raise DataError(f"{path} is a link that leads out of the volume: put the file itself there")
        if not file.is_file():
            raise DataError(f"{path} is not a file")
        try:
            path.encode()
        except UnicodeEncodeError:  # no manifest could name it
            raise DataError(f"the name of {path!a} is not UTF-8: rename the file") from None
        return file

    def scratch(self) -> Path:
        """Make a folder for what has to lie on the volume until this stage ends."""
        folder = self._folder / f"scratch{TEMPORARY_SUFFIX}"
        folder.mkdir(exist_ok=True)
        return folder

    def leave(self, name: str, head: str, pieces: Iterable[Path]) -> Path:
        """Put together a file that stays although the stage fails, until the next try; returns its path inside the volume."""
        temporary = self._folder / f"{name}{TEMPORARY_SUFFIX}"
        with temporary.open("wb") as file:
            file.write(head.encode())
            for piece in pieces:
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._folder / name)
        return self.place / name

    def has_data_file(self, path: str) -> bool:
        return (self._volume / path).exists()

    def parts(self, artifact: Artifact) -> list[Part]:
        """Find the parts of an artifact of this run, in their order; they are read with `Part.load`, in whatever process.

        Raises MissingInputError where its stage has not happened, DataError as `manifest` does.
        """
        expected = self.manifest(artifact.stage).parts(artifact.name)
        folder = self._folder.parent / artifact.stage
        gone = [record.name for record in expected if not (folder / record.name).is_file()]
        if gone or not expected:
            missing = (gone or [artifact.name])[0]
            raise MissingInputError(f"{artifact.stage}/{missing} is missing from run {self.run}: run {artifact.stage} again")
        self._refuse_other_versions(artifact)
        inside = [_inside(artifact.stage, record) for record in expected]
        self.inputs += [record for record in inside if record not in self.inputs]
        remedy = f"run {artifact.stage} again"
        return [Part(folder / record.name, named, remedy) for record, named in zip(expected, inside, strict=True)]

    def load_parts(self, artifact: Artifact) -> Iterator[Any]:
        """Read an artifact of this run part by part, each after its bytes were found to be those that its stage wrote.

        Raises as `parts` does, and DataError where anything differs from the manifest.
        """
        return (part.load() for part in self.parts(artifact))

    def load(self, artifact: Artifact) -> Any:
        """Read an artifact that is written in one piece; raises as `load_parts` does."""
        (value,) = self.load_parts(artifact)
        return value

    def load_as(self, model: type[Model], artifact: Artifact) -> Model:
        """Read JSON of this run as a model; raises as `load` does, and DataError if another version of its stage wrote it."""
        try:
            return model.model_validate(self.load(artifact))
        except ValidationError as error:
            raise DataError(
                f"{artifact.stage}/{artifact.name} is not as this version expects it ({explain(error)}): "
                f"run {artifact.stage} again"
            ) from None

    def save(self, artifact: Artifact, value: Any) -> None:
        """Write an artifact, or the next part of it: one that is saved several times consists of as many parts."""
        self.add(artifact, save_draft(*self.target(artifact), value))

    def writing(self, artifact: Artifact) -> AbstractContextManager[BinaryIO]:
        """Open an artifact, or the next part of it, for those that write it in pieces."""
        return drafting(*self.target(artifact), self._drafts.setdefault(artifact.name, []))

    def target(self, artifact: Artifact) -> tuple[Path, str]:
        """Say where drafts of an artifact go, for those that write them elsewhere than in this process."""
        assert artifact.stage == self.stage, f"{self.stage} must not write {artifact}"
        return self._folder, artifact.name

    def add(self, artifact: Artifact, draft: PendingPart) -> None:
        """Take a draft for the next part of an artifact."""
        self._drafts.setdefault(artifact.name, []).append(draft)

    @property
    def outputs(self) -> list[FileRecord]:
        """What was written so far, by the names that it will have if nothing is added."""
        return [record for _, record in self._placed()]

    def form(self, artifact: Artifact) -> str:
        """Name what people find of an artifact that was written: its file, or the folder of its parts."""
        return artifact.name if len(self._drafts[artifact.name]) == 1 else Path(artifact.name).stem

    def _placed(self) -> list[tuple[Path, FileRecord]]:
        return [placed for name, drafts in self._drafts.items() for placed in place(name, drafts)]

    def commit(self, manifest: Manifest) -> str:
        """Put everything in its place and the manifest last; returns the manifest's sha256.

        Until the old manifest goes, an earlier try stands as it was; from then until the new one is there, the stage has
        not happened. What is to be published is published after that: a stage that is killed in between ends with an exit code
        other than 0, and the next try publishes.
        """
        text = manifest.sealed()
        manifest_draft = self._folder / (MANIFEST_NAME + TEMPORARY_SUFFIX)
        files.write(manifest_draft, text)
        (self._folder / MANIFEST_NAME).unlink(missing_ok=True)
        for old in self._folder.iterdir():
            if old.name == LOCK_NAME or old.suffix == TEMPORARY_SUFFIX:
                continue
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        placed = [(draft, self._folder / record.name) for draft, record in self._placed()]
        for draft, path in placed:
            path.parent.mkdir(exist_ok=True)
            draft.rename(path)
        for folder in {path.parent for _, path in placed} | {self._folder}:
            files.sync(folder)
        manifest_draft.rename(self._folder / MANIFEST_NAME)
        files.sync(self._folder)
        for publish in self._after_commit:
            publish()
        return hashlib.sha256(text).hexdigest()

    def publish(self, artifact: Artifact) -> None:
        """Copy an artifact that an earlier stage of this run wrote into `model/`, once this stage has happened.

        Needs the register held. Raises as `load` does, before anything is published.
        """
        (part,) = self.parts(artifact)
        part.open().close()
        self._after_commit.append(lambda: self._model.publish_file(part.path, part.expected))

    def register(self, *, hold: bool) -> Register:
        """Read which segments are in force; `hold` keeps others from publishing any until this stage has ended.

        Raises TransientError where another stage holds them.
        """
        if hold:
            self._closing.callback(os.close, self._model.lock())
        return self._model.read()

    def open_published(self, entry: RunEntry, artifact: Artifact) -> Iterator[BinaryIO]:
        """Open what a run has published part by part, each after its bytes were found to be those; raises as `load` does."""
        for name in self._model.names(entry, artifact.name):
            file, found = self._model.open(entry, name)
            with file:
                self.inputs.append(found)
                yield file

    def open_made_from(self, entry: RunEntry, artifact: Artifact) -> Iterator[BinaryIO]:
        """Open an artifact that a consumer of publications has made from a publication, part by part.

        Raises MissingInputError if the consumer has not run for this publication, else as `load` does.
        """
        other = Workspace(self._volume, entry.run, self.stage, {})
        manifest = other.manifest(artifact.stage)
        read = {record.sha256 for record in manifest.inputs}
        published = entry.publication.files if entry.publication else ()
        if not read.intersection(record.sha256 for record in published):
            raise MissingInputError(f"{artifact.name} of run {entry.run} was made from an earlier publication of the run")
        for part in other.parts(artifact):
            with part.open() as file:
                self.inputs.append(
                    part.expected.model_copy(update={"name": str(other.place.parent / part.expected.name), "stage": None})
                )
                yield file

    def load_published(self, entry: RunEntry, artifact: Artifact) -> Any:
        """Unpickle what a run has published in one piece; raises as `load` does."""
        (value,) = (load_pickle(file, f"{artifact.name} of run {entry.run}") for file in self.open_published(entry, artifact))
        return value

    def enter_register(self, register: Register, contents: Contents | None, artifacts: Sequence[Artifact] = ()) -> None:
        """Have the register replaced once the stage has happened; with `contents`, `artifacts` of this run come into force."""

        def enter() -> None:
            if contents is None:
                self._model.write(register)
            else:
                names = [artifact.name for artifact in artifacts]
                records = [record for record in self.outputs if record.artifact in names]
                self._model.publish(register, self.run, contents, [(self._folder / one.name, one) for one in records])

        self._after_commit.append(enter)

    def read_history(self, model: type[Entry]) -> list[Entry]:
        """Read the key figures of all runs on the volume, in the order in which they started; see `history.py`."""
        if (self._volume / history.FILE_NAME).is_file():
            self.inputs.append(files.digest_file(self._volume / history.FILE_NAME, history.FILE_NAME))
        return history.read_history(self._volume, model)

    def record_in_history(self, entry: history.HistoryEntry) -> None:
        """Add the key figures of this run to the history once the stage has happened."""
        self._after_commit.append(lambda: history.record_run(self._volume, entry))

    def manifest(self, stage: str) -> Manifest:
        """Read the manifest of another stage of this run, once.

        Raises
        ------
        MissingInputError
            The stage has not finished.
        DataError
            The manifest is damaged or another one than the stage reported, or a stage that these results are made from was run
            again since, with other results: what is made from both would belong to no run.
        """
        if stage not in self._manifests:
            self._manifests[stage] = self._read_manifest(stage)  # before its sources are: a forged one may name itself
            try:
                self._refuse_outdated(self._manifests[stage])
            except DataError:
                del self._manifests[stage]
                raise
        return self._manifests[stage]

    def _read_manifest(self, stage: str) -> Manifest:
        try:
            text = (self._folder.parent / stage / MANIFEST_NAME).read_bytes()
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
            raise DataError(f"the manifest of {stage} cannot be read ({explain(error)}); run {stage} again") from None
        if (manifest.run, manifest.stage) != (self.run, stage):
            raise DataError(f"the manifest of {stage} is that of {manifest.stage} in run {manifest.run}")
        return manifest

    def _refuse_outdated(self, manifest: Manifest) -> None:
        """Compare what a stage read with what the stages before it hold now, the earliest one first.

        A stage whose folder is gone was not run again, so its results may still be used.
        """
        for source in manifest.sources():
            with suppress(MissingInputError):
                now = self.manifest(source)
                for name, digests in manifest.digests_read(source).items():
                    if digests != [record.sha256 for record in now.parts(name)]:
                        raise DataError(
                            f"{source} was run again after {manifest.stage} had read its {name}: "
                            f"run {manifest.stage} and the stages after it again, in their order"
                        )

    def _refuse_other_versions(self, artifact: Artifact) -> None:
        """Refuse a pickle that libraries of other versions have written."""
        if Path(artifact.name).suffix in (".json", ".csv", ".html"):
            return
        written, here = self.manifest(artifact.stage).versions, installed_versions()
        for library in PICKLE_VERSION_SENSITIVE:
            if library in written and library in here and written[library] != here[library]:
                raise DataError(
                    f"{artifact.stage}/{artifact.name} was written with {library} {written[library]}, here is {here[library]}: "
                    f"run {artifact.stage} again with what is here, or this stage with the version that wrote it"
                )


def _place(run: str, stage: str) -> Path:
    return Path("scores", run_folder(run)) if stage == SCORES.stage else Path("runs", run_folder(run), stage)


def _inside(stage: str, record: FileRecord) -> FileRecord:
    """Name a record by its path inside the run instead of inside the stage's folder."""
    part_of = record.part_of and f"{stage}/{record.part_of}"
    return record.model_copy(update={"name": f"{stage}/{record.name}", "part_of": part_of, "stage": stage})
