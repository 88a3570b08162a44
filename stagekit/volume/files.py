"""Files that are whole or not there: written, flushed to disk, renamed, locked and recognised by their digest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path

from stagekit.errors import TransientError
from stagekit.volume.manifest import FileRecord

TEMPORARY_SUFFIX = ".tmp"
LOCK_NAME = ".lock"
_IN_USE = "{} is in use by another process: wait for it to end, then run again"


def record(file: BufferedReader | BufferedRandom, name: str) -> FileRecord:
    """Take the digest and the length of an open file, read from its beginning."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(name=name, sha256=digest, bytes=file.tell())


def digest_file(path: Path, name: str) -> FileRecord:
    """Take the digest and the length of a file."""
    with path.open("rb") as file:
        return record(file, name)


def lock(folder: Path) -> int:
    """Keep other processes out of `folder` until the descriptor is closed.

    Raises TransientError where one is in it.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TransientError(_IN_USE.format(folder)) from None
    if not os.fstat(descriptor).st_nlink:  # another process has just taken the folder away
        os.close(descriptor)
        raise TransientError(_IN_USE.format(folder))
    return descriptor


def write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Write `path` in one step for those who read it."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with cleanup_on_failure(temporary):
        write(temporary, content)
        temporary.rename(path)
    sync(path.parent)


@contextmanager
def cleanup_on_failure(temporary: Path) -> Iterator[None]:
    """Take a temporary file or folder away again where what it is for fails: on a full disk it would be in the way."""
    try:
        yield
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> FileRecord:
    """Copy a file piece by piece, so that its size does not matter; returns what arrived."""
    with source.open("rb") as original, target.open("w+b") as file:
        while piece := original.read(1 << 22):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return record(file, source.name)


@contextmanager
def unchanged(paths: Collection[Path]) -> Iterator[None]:
    """Watch over files that are read several times.

    Raises TransientError where one was changed meanwhile, whatever else may have come of it.
    """
    before = {path: path.stat() for path in paths}
    try:
        yield
    finally:
        for path, then in before.items():
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
                raise TransientError(f"{path.name} was changed while it was read: run again")


def sync(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
