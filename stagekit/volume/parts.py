"""Parts: what a large artifact consists of, so that nobody has to hold all of it at once.

    customers.pkl            saved once: the whole
    customers/00000.pkl …    saved piece by piece, in this order: each a part with its own digest; no file for the whole

Which of the two it will be is known when the last piece is written, so until the stage is committed every part is a draft
with a temporary name. Parts and drafts are small and can be pickled: what they stand for can be read and written by
any process that sees the volume at the same path.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stagekit.errors import DataError, MissingInputError
from stagekit.volume import files
from stagekit.volume.files import TEMPORARY_SUFFIX
from stagekit.volume.manifest import FileRecord
from stagekit.volume.pickles import load_pickle


class Part(NamedTuple):
    """A part that a stage has written; of an artifact that was saved once, the whole."""

    path: Path
    expected: FileRecord
    remedy: str
    """What to do when it is not as expected."""

    def open(self) -> BufferedReader:
        """Open it, after its bytes were found to be those that were written.

        Raises MissingInputError where it is not there, DataError where anything differs.
        """
        name = self.expected.name
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise MissingInputError(f"{name} is missing: {self.remedy}") from None
        found = files.record(file, name)
        if found.sha256 != self.expected.sha256:
            file.close()
            raise DataError(
                f"{name} has sha256 {found.sha256[:12]}…, its manifest says {self.expected.sha256[:12]}…: "
                f"it was changed or damaged; {self.remedy}"
            )
        file.seek(0)
        return file

    def load(self) -> Any:
        """Read it as `open` does: JSON and pickles as values, CSV and HTML as text."""
        with self.open() as file:
            if self.path.suffix not in (".json", ".csv", ".html"):
                return load_pickle(file, self.expected.name)
            try:
                return json.load(file) if self.path.suffix == ".json" else file.read().decode()
            except ValueError as error:
                raise DataError(f"{self.expected.name} cannot be read ({error}): {self.remedy}") from None


class PendingPart(NamedTuple):
    """A part that is written and flushed to disk, and not yet in its place."""

    path: Path
    found: FileRecord


@contextmanager
def drafting(folder: Path, name: str, drafts: list[PendingPart]) -> Iterator[BinaryIO]:
    """Open a new part of the artifact `name`; once it is written it is added to `drafts`."""
    whole = Path(name)
    # A name of its own: a worker that was given up may still be writing what another one has begun anew.
    path = folder / f"{whole.stem}.{secrets.token_hex(8)}{whole.suffix}{TEMPORARY_SUFFIX}"
    with path.open("x+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        drafts.append(PendingPart(path, files.record(file, name)))


def save_draft(folder: Path, name: str, value: Any) -> PendingPart:
    """Write a part by the suffix of its artifact: JSON, text, or else a pickle."""
    drafts: list[PendingPart] = []
    with drafting(folder, name, drafts) as file:
        match Path(name).suffix:
            case ".json":
                file.write(to_json(value))
            case ".csv" | ".html":
                file.write(value.encode())
            case _:
                pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    return drafts[0]


def place(name: str, drafts: Sequence[PendingPart]) -> list[tuple[Path, FileRecord]]:
    """Say what each draft of the artifact `name` becomes when they are all there is of it."""
    if len(drafts) == 1:
        return [(draft.path, draft.found) for draft in drafts]
    whole = Path(name)
    return [
        (draft.path, draft.found.model_copy(update={"name": f"{whole.stem}/{number:05}{whole.suffix}", "part_of": name}))
        for number, draft in enumerate(drafts)
    ]


def to_json(value: Any) -> bytes:
    """Write JSON for people; NaN and infinities, which JSON does not know, raise ValueError."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
