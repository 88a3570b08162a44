"""The model store: the folder `model/`, which changes only by renaming what is complete.

    model/<registry>               the registry (`registry.py`): names the active run and the SHA-256 of its files
    model/published/<folder>/      the files of one publication, written before the registry names them
    model/<artifact>               a single artifact

Readers see one complete run. A process that is killed while it publishes leaves a folder that the registry does not name; the
next publication removes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stagekit.errors import DataError, MissingInputError, SetupError, TransientError
from stagekit.pipeline import Pipeline
from stagekit.volume import files
from stagekit.volume.manifest import FileRecord, format_validation_error
from stagekit.volume.registry import Registry, RunEntry
from stagekit.volume.runs import run_folder


class ModelStore:
    """The folder `model/` of a volume."""

    def __init__(self, volume: Path, pipeline: Pipeline) -> None:
        self._volume = volume
        self._folder = volume / "model"
        self._published = self._folder / "published"
        self._pipeline = pipeline

    def lock(self) -> int:
        """Lock the store against other publishing stages until the returned file descriptor is closed.

        The lock is held from reading the registry to writing it, so that a run is compared with what is still active and no id
        is given twice. Reading needs no lock.

        Raises
        ------
        SetupError
            The folder is outside of the volume.
        TransientError
            Another stage holds the lock.
        """
        self._refuse_links()
        self._published.mkdir(parents=True, exist_ok=True)
        return files.lock(self._folder)

    def read_registry(self) -> Any:
        """Read the registry; it is empty if nothing was ever published.

        Raises
        ------
        SetupError
            The folder is outside of the volume.
        DataError
            The registry is damaged.
        """
        self._refuse_links()
        model = self._pipeline.load_registry_model()
        try:
            return model.model_validate_json((self._folder / model.file_name).read_bytes())
        except FileNotFoundError:
            return model()
        except ValidationError as error:
            raise DataError(
                f"model/{model.file_name} cannot be read ({format_validation_error(error)}): restore it from a backup; "
                "without it, the next run starts as if nothing had ever been published"
            ) from None

    def _refuse_links(self) -> None:
        if not self._published.resolve().is_relative_to(self._volume.resolve()):
            raise SetupError("model/ or model/published is a link that leads out of the volume: put a folder there")

    def open(self, entry: RunEntry[Any], name: str) -> tuple[BufferedReader, FileRecord]:
        """Open a published file after its SHA-256 was found to be the one in the registry.

        Raises
        ------
        MissingInputError
            The file does not exist.
        DataError
            The file was changed or damaged.
        TransientError
            Another run was published in the meantime.
        """
        publication = entry.publication
        expected = next((record for record in publication.files if record.name == name), None) if publication else None
        if publication is None or expected is None:
            raise MissingInputError(f"run {entry.run} has not published {name}: {self._remedy(entry)}")
        record = expected.model_copy(update={"name": f"model/published/{publication.folder}/{name}", "part_of": None})
        path = self._published / publication.folder / name
        try:
            file = files.open_verified(path, record, "the registry", self._remedy(entry))
        except MissingInputError:
            if self.read_registry().entry(entry.run) != entry:
                raise TransientError(f"another run was published while {record.name} was opened: run again") from None
            raise
        return file, record

    def _remedy(self, entry: RunEntry[Any]) -> str:
        return self._pipeline.load_registry_model().remedy.format(run=entry.run)

    def write_registry(self, registry: Registry[Any]) -> None:
        """Replace the registry and remove publications that it does not name; requires the lock."""
        files.atomic_write(self._folder / registry.file_name, registry.to_checksummed_json())
        listed = {entry.publication.folder for entry in registry.kept_runs() if entry.publication}
        for folder in self._published.iterdir():
            if folder.name not in listed:
                shutil.rmtree(folder, ignore_errors=True)  # what remains is removed by the next publication

    def publish(
        self, registry: Registry[Any], run: str, metadata: Mapping[str, Any], sources: Sequence[tuple[Path, FileRecord]]
    ) -> None:
        """Make `run` active with copies of `sources`; requires the lock.

        Parameters
        ----------
        registry : Registry
            Contains an entry for `run`.
        run : str
        metadata : mapping
            What the publication records besides its files.
        sources : sequence of (Path, FileRecord)
            Each file with its expected record.

        Raises
        ------
        TransientError
            A file is not the expected one.
        """
        name = f"{registry.publications + 1:06d}-{run_folder(run)}"
        folder = self._published / name
        temporary = self._published / (name + files.TEMPORARY_SUFFIX)
        for leftover in (folder, temporary):  # of a process that was killed before it replaced the registry
            shutil.rmtree(leftover, ignore_errors=True)
        with files.cleanup_on_failure(temporary):
            temporary.mkdir()
            for source, expected in sources:
                target = temporary / expected.name
                target.parent.mkdir(exist_ok=True)
                _copy_verified(source, target, expected)
            for written in {temporary / Path(expected.name).parent for _, expected in sources} | {temporary}:
                files.fsync_directory(written)
            temporary.rename(folder)
            files.fsync_directory(self._published)
        records = tuple(expected for _, expected in sources)
        publication = registry.publication_type(**metadata, folder=name, published=datetime.now(UTC), files=records)
        self.write_registry(registry.with_publication(run, publication))

    def publish_file(self, source: Path, expected: FileRecord) -> None:
        """Replace a single file in the store by a copy of `source`: readers see the old or the new one; requires the lock.

        Raises
        ------
        TransientError
            The file is not the expected one.
        """
        temporary = self._folder / (source.name + files.TEMPORARY_SUFFIX)
        with files.cleanup_on_failure(temporary):
            _copy_verified(source, temporary, expected)
            temporary.rename(self._folder / source.name)
        files.fsync_directory(self._folder)


def _copy_verified(source: Path, target: Path, expected: FileRecord) -> None:
    if files.copy(source, target).sha256 != expected.sha256:
        raise TransientError(f"{expected.name} changed while it was published: run again")
