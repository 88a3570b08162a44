"""Files that users put on the volume: located inside the volume and nowhere else, and recorded with their digest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stagekit.errors import DataError, MissingInputError, UsageError
from stagekit.volume import files
from stagekit.volume.manifest import FileRecord


class UserFiles:
    """The users' files on a volume; `records` lists those that a stage has read."""

    def __init__(self, volume: Path) -> None:
        self._volume = volume
        self.records: list[FileRecord] = []

    def open(self, path: str) -> Path:
        """Return the location of a file and record its digest.

        Raises
        ------
        MissingInputError
            The file does not exist.
        DataError
            It is not a file inside the volume.
        """
        file = self._locate(path)
        self.records.append(files.digest_file(file, path))
        return file

    def exists(self, path: str) -> bool:
        """Return whether there is a file at `path`."""
        return (self._volume / path).exists()

    def find(self, path: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
        """Return the files that `path` names, in the order of their names: one file, those in a folder, or those of a pattern.

        The caller records what it reads with `record`.

        Parameters
        ----------
        path : str
            Path inside the volume; may contain `*`, `?` and `[...]`.
        suffixes : tuple of str
            Suffixes of the files that are read from a folder.

        Raises
        ------
        MissingInputError
            There is no such file.
        UsageError
            The pattern is invalid.
        DataError
            A match is not a file inside the volume.
        """
        matches: Iterable[Path] = [self._volume / path]
        if (self._volume / path).is_dir():
            matches = [file for file in (self._volume / path).iterdir() if file.name.lower().endswith(suffixes)]
        elif any(sign in path for sign in "*?[") and not (self._volume / path).exists():
            try:
                matches = [file for file in self._volume.glob(path) if not file.is_dir()]
            except ValueError as error:
                raise UsageError(f"{path} is an invalid pattern: {error}") from None
        names = sorted(str(file.relative_to(self._volume)) for file in matches)
        if not names:
            kinds = ", ".join(suffixes)
            raise MissingInputError(f"{path} matches no {kinds} file on the volume: put some there, or name others")
        return {name: self._locate(name) for name in names}

    def record(self, records: Iterable[FileRecord]) -> None:
        """Record files that were read."""
        self.records += records

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
        except UnicodeEncodeError:  # a manifest could not name it
            raise DataError(f"the name of {path!a} is not UTF-8: rename the file") from None
        return file
