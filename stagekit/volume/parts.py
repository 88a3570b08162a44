"""Parts: the files of a large artifact, so that no process has to hold all of it.

    customers.pkl            written in one part
    customers/00000.pkl …    written in several parts, in this order; each has its own digest

Which of the two it is becomes known when the last part is written. Until the stage commits, every part is pending: a file with
a temporary name. `Part`, `PendingPart` and `OutputLocation` are small and can be pickled, so that workers that see the
volume at the same path can read and write parts.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stagekit.volume import files
from stagekit.volume.artifact import Artifact
from stagekit.volume.files import TEMPORARY_SUFFIX
from stagekit.volume.formats import Format, PickleFormat
from stagekit.volume.manifest import FileRecord


class Part(NamedTuple):
    """A committed part of an artifact."""

    path: Path
    expected: FileRecord
    format: Format | PickleFormat
    remedy: str
    """What to do if it is missing or changed."""

    def open(self) -> BufferedReader:
        """Open the file after its SHA-256 was found to be the one in the manifest.

        Raises
        ------
        MissingInputError
            The file does not exist.
        DataError
            The file was changed or damaged.
        """
        return files.open_verified(self.path, self.expected, "its manifest", self.remedy)

    def load(self) -> Any:
        """Read the value in the artifact's format; raises as `open` does."""
        with self.open() as file:
            return self.format.load(file, self.expected.name)


class PendingPart(NamedTuple):
    """A part that is written and flushed to disk under a temporary name."""

    path: Path
    record: FileRecord


class OutputLocation(NamedTuple):
    """Where the parts of an artifact are written, by this process or by a worker."""

    folder: Path
    artifact: Artifact

    @contextmanager
    def open(self, pending: list[PendingPart]) -> Iterator[BinaryIO]:
        """Open a new part for writing; once it is written, it is appended to `pending`."""
        name = Path(self.artifact.name)
        # A unique name: a worker that was given up may still be writing the part that another worker writes again.
        path = self.folder / f"{name.stem}.{secrets.token_hex(8)}{name.suffix}{TEMPORARY_SUFFIX}"
        with path.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            pending.append(PendingPart(path, files.digest_open_file(file, self.artifact.name)))

    def write(self, value: Any) -> PendingPart:
        """Write a value as a new part, in the artifact's format."""
        pending: list[PendingPart] = []
        with self.open(pending) as file:
            self.artifact.format.dump(value, file)
        return pending[0]


def final_records(name: str, pending: Sequence[PendingPart]) -> list[tuple[Path, FileRecord]]:
    """Return each pending part's path with its record under its final name, if these are all parts of the artifact `name`."""
    if len(pending) == 1:
        return [(part.path, part.record) for part in pending]
    whole = Path(name)
    return [
        (part.path, part.record.model_copy(update={"name": f"{whole.stem}/{number:05}{whole.suffix}", "part_of": name}))
        for number, part in enumerate(pending)
    ]
