"""The folder that a stage writes: locked while it runs, and changed in one step when it commits."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from stagekit.errors import SetupError
from stagekit.tables.faults import FAULTS_NAME
from stagekit.volume import files
from stagekit.volume.artifact import Artifact
from stagekit.volume.files import LOCK_NAME, TEMPORARY_SUFFIX
from stagekit.volume.manifest import MANIFEST_NAME, FileRecord, Manifest
from stagekit.volume.parts import PendingPart, final_records


class StageFolder:
    """One stage's folder. Nothing that an earlier try wrote changes until `commit`.

    Parameters
    ----------
    volume : Path
    path : Path
        The folder's path inside the volume.
    """

    def __init__(self, volume: Path, path: Path) -> None:
        self._volume = volume
        self.relative_path = path
        self.path = volume / path
        self._pending: dict[str, list[PendingPart]] = {}

    def open(self, closing: ExitStack) -> None:
        """Create and lock the folder, and remove temporary files; `closing` unlocks and tidies up.

        Raises
        ------
        SetupError
            The folder is outside of the volume.
        TransientError
            Another process holds the lock.
        """
        if not self.path.resolve().is_relative_to(self._volume.resolve()):
            raise SetupError(f"{self.relative_path} is behind a link that leads out of the volume: put a folder there")
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        closing.callback(os.close, files.lock(self.path))
        if is_new:
            closing.callback(self._remove_if_empty)
        closing.callback(self.remove_temporary_files)
        self.remove_temporary_files()
        (self.path / FAULTS_NAME).unlink(missing_ok=True)  # of an earlier try

    def remove_temporary_files(self) -> None:
        """Remove what was written and not committed, by this process or by one that was killed."""
        for leftover in self.path.glob(f"*{TEMPORARY_SUFFIX}"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def _remove_if_empty(self) -> None:
        """Remove a folder without results: a mistyped run should not appear among the runs."""
        if not (self.path / MANIFEST_NAME).exists():
            (self.path / LOCK_NAME).unlink(missing_ok=True)
            with suppress(OSError):  # it contains something else
                self.path.rmdir()
                self.path.parent.rmdir()

    def scratch(self) -> Path:
        """Create a folder for temporary data; it is removed when the stage ends."""
        folder = self.path / f"scratch{TEMPORARY_SUFFIX}"
        folder.mkdir(exist_ok=True)
        return folder

    def leave(self, name: str, header: str, pieces: Iterable[Path]) -> Path:
        """Concatenate files into one that remains if the stage fails, until the next try; return its path inside the volume."""
        temporary = self.path / f"{name}{TEMPORARY_SUFFIX}"
        with temporary.open("wb") as file:
            file.write(header.encode())
            for piece in pieces:
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.path / name)
        return self.relative_path / name

    def pending(self, artifact: Artifact) -> list[PendingPart]:
        """Return the list of an artifact's pending parts, to which new parts are appended."""
        return self._pending.setdefault(artifact.name, [])

    @property
    def outputs(self) -> tuple[FileRecord, ...]:
        """Records of everything written so far, under their final names if no more parts follow."""
        return tuple(record for _, record in self._final_records())

    def output_name(self, artifact: Artifact) -> str:
        """Return the name under which users find an artifact: its file, or the folder of its parts."""
        return artifact.name if len(self.pending(artifact)) == 1 else Path(artifact.name).stem

    def _final_records(self) -> list[tuple[Path, FileRecord]]:
        return [final for name, pending in self._pending.items() for final in final_records(name, pending)]

    def commit(self, manifest: Manifest) -> str:
        """Rename all parts to their final names, the manifest last; return the SHA-256 of the manifest.

        The results of an earlier try stay complete until its manifest is removed. From then until the new manifest exists, the
        stage counts as not run.
        """
        text = manifest.to_checksummed_json()
        temporary = self.path / (MANIFEST_NAME + TEMPORARY_SUFFIX)
        files.write_and_fsync(temporary, text)
        (self.path / MANIFEST_NAME).unlink(missing_ok=True)
        for old in self.path.iterdir():
            if old.name == LOCK_NAME or old.suffix == TEMPORARY_SUFFIX:
                continue
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        final = [(pending, self.path / record.name) for pending, record in self._final_records()]
        for pending, path in final:
            path.parent.mkdir(exist_ok=True)
            pending.rename(path)
        for folder in {path.parent for _, path in final} | {self.path}:
            files.fsync_directory(folder)
        temporary.rename(self.path / MANIFEST_NAME)
        files.fsync_directory(self.path)
        return hashlib.sha256(text).hexdigest()
