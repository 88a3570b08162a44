"""How things come into force: the folder model/, which changes only by renaming what is complete.

    model/segments.json            the register (`register.py`): names the run in force and the sha256 of its files
    model/published/<folder>/      the files of one publication, there before the register names them
    model/kmeans_custom.sav        a single file: the last model of the sweep of the run in force

Whoever reads sees one whole run: a process that is killed on the way leaves a folder that no register names, and the next
publication removes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from pydantic import ValidationError

from stagekit.errors import DataError, MissingInputError, SetupError, TransientError
from stagekit.volume import files
from stagekit.volume.manifest import FileRecord, explain
from stagekit.volume.registry import Contents, Publication, Register, RunEntry
from stagekit.volume.runs import run_folder

REGISTER_NAME = "segments.json"


class ModelStore:
    """The folder `model/` of a volume."""

    def __init__(self, volume: Path) -> None:
        self._volume = volume
        self._folder = volume / "model"
        self._published = self._folder / "published"

    def lock(self) -> int:
        """Keep others from publishing segments until the descriptor is closed; raises TransientError where one is at it.

        Held from reading the register to writing it, so that nobody compares with what is no longer in force, and no id is
        given twice. Reading needs no lock.
        """
        self._refuse_links()
        self._published.mkdir(parents=True, exist_ok=True)
        return files.lock(self._folder)

    def read(self) -> Register:
        """Read the register; an empty one where nothing has ever been published. Raises DataError where it is damaged."""
        self._refuse_links()
        path = self._folder / REGISTER_NAME
        try:
            return Register.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Register()
        except ValidationError as error:
            raise DataError(
                f"model/{REGISTER_NAME} cannot be read ({explain(error)}): restore it from a backup; "
                "without it, segments start anew from number 1"
            ) from None

    def _refuse_links(self) -> None:
        if not self._published.resolve().is_relative_to(self._volume.resolve()):
            raise SetupError("model/ or model/published is a link that leads out of the volume: put a folder there")

    def names(self, entry: RunEntry, artifact: str) -> list[str]:
        """Name the parts of an artifact that a run has published, in order; raises MissingInputError where it has not."""
        records = entry.publication.files if entry.publication else ()
        names = [record.name for record in records if record.artifact == artifact]
        if not names:
            raise MissingInputError(f"run {entry.run} has not published {artifact}: run segment for it again")
        return names

    def open(self, entry: RunEntry, name: str) -> tuple[BufferedReader, FileRecord]:
        """Open a published file, after its bytes were found to be those that were published.

        Raises MissingInputError where it is not there, DataError where it has changed.
        """
        publication = entry.publication
        expected = next((record for record in publication.files if record.name == name), None) if publication else None
        if publication is None or expected is None:
            raise MissingInputError(f"run {entry.run} has not published {name}: run segment for it again")
        where = f"model/published/{publication.folder}/{name}"
        remedy = f"run segment for run {entry.run} again, with --publish=always if need be"
        try:
            file = (self._published / publication.folder / name).open("rb")
        except FileNotFoundError:
            if self.read().entry(entry.run) != entry:
                raise TransientError(f"another run was published while {where} was looked for: run again") from None
            raise MissingInputError(f"{where} is missing: {remedy}") from None
        found = files.record(file, where)
        if found.sha256 != expected.sha256:
            file.close()
            raise DataError(
                f"{where} has sha256 {found.sha256[:12]}…, the register says {expected.sha256[:12]}…: "
                f"it was changed or damaged; {remedy}"
            )
        file.seek(0)
        return file, found

    def write(self, register: Register) -> None:
        """Replace the register, and remove what neither it nor a process that was killed needs any more; needs the lock."""
        files.replace(self._folder / REGISTER_NAME, register.sealed())
        listed = {entry.publication.folder for entry in register.kept() if entry.publication}
        for folder in self._published.iterdir():
            if folder.name not in listed:
                shutil.rmtree(folder, ignore_errors=True)  # what stays behind goes the next time

    def publish(self, register: Register, run: str, contents: Contents, sources: Sequence[tuple[Path, FileRecord]]) -> None:
        """Put `run` in force with copies of `sources`, each with the record that it must agree with; needs the lock."""
        name = f"{register.publications + 1:06d}-{run_folder(run)}"
        folder = self._published / name
        temporary = self._published / (name + files.TEMPORARY_SUFFIX)
        for leftover in (folder, temporary):  # of a process that was killed before it could replace the register
            shutil.rmtree(leftover, ignore_errors=True)
        with files.cleanup_on_failure(temporary):
            temporary.mkdir()
            for source, expected in sources:
                target = temporary / expected.name
                target.parent.mkdir(exist_ok=True)
                if files.copy(source, target).sha256 != expected.sha256:
                    raise TransientError(f"{expected.name} changed while it was published: run again")
            for written in {temporary / Path(expected.name).parent for _, expected in sources} | {temporary}:
                files.sync(written)
            temporary.rename(folder)
            files.sync(self._published)
        publication = Publication(
            **dict(contents), folder=name, published=datetime.now(UTC), files=tuple(expected for _, expected in sources)
        )
        self.write(register.with_publication(run, publication))

    def publish_file(self, source: Path, expected: FileRecord) -> None:
        """Put a copy of a single file into the folder, in one step for those who read it; needs the lock.

        Raises TransientError if the file is not the expected one.
        """
        temporary = self._folder / (source.name + files.TEMPORARY_SUFFIX)
        with files.cleanup_on_failure(temporary):
            if files.copy(source, temporary).sha256 != expected.sha256:
                raise TransientError(f"{expected.name} changed while it was published: run again")
            temporary.rename(self._folder / source.name)
        files.sync(self._folder)
