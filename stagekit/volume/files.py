"""Files that are complete or absent: written, flushed to disk, renamed, locked, and identified by their digest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path

from stagekit.errors import DataError, MissingInputError, TransientError
from stagekit.volume.manifest import FileRecord

TEMPORARY_SUFFIX = ".tmp"
LOCK_NAME = ".lock"
_IN_USE = "{} is in use by another process: wait until it ends, then run again"


def digest_open_file(file: BufferedReader | BufferedRandom, name: str) -> FileRecord:
    """Return SHA-256 and length of an open file, read from its current position to its end."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(name=name, sha256=digest, bytes=file.tell())


def digest_file(path: Path, name: str) -> FileRecord:
    """Return SHA-256 and length of a file."""
    with path.open("rb") as file:
        return digest_open_file(file, name)


def open_verified(path: Path, expected: FileRecord, source: str, remedy: str) -> BufferedReader:
    """Open a file after its SHA-256 was found to be the expected one.

    Parameters
    ----------
    path : Path
    expected : FileRecord
        Its name is the one in error messages.
    source : str
        Where the expected digest comes from.
    remedy : str
        What to do if the file is missing or changed.

    Raises
    ------
    MissingInputError
        The file does not exist.
    DataError
        The digest differs.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise MissingInputError(f"{expected.name} is missing: {remedy}") from None
    actual = digest_open_file(file, expected.name)
    if actual.sha256 != expected.sha256:
        file.close()
        raise DataError(
            f"{expected.name} has sha256 {actual.sha256[:12]}…, {source} lists {expected.sha256[:12]}…: "
            f"it was changed or damaged; {remedy}"
        )
    file.seek(0)
    return file


def lock(folder: Path) -> int:
    """Lock `folder` against other processes until the returned file descriptor is closed.

    Raises
    ------
    TransientError
        Another process holds the lock.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TransientError(_IN_USE.format(folder)) from None
    if not os.fstat(descriptor).st_nlink:  # another process has just removed the folder
        os.close(descriptor)
        raise TransientError(_IN_USE.format(folder))
    return descriptor


def write_and_fsync(path: Path, content: bytes) -> None:
    """Write a file and flush it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def atomic_write(path: Path, content: bytes) -> None:
    """Replace a file: readers see the old or the new content."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with cleanup_on_failure(temporary):
        write_and_fsync(temporary, content)
        temporary.rename(path)
    fsync_directory(path.parent)


@contextmanager
def cleanup_on_failure(temporary: Path) -> Iterator[None]:
    """Delete the temporary file or folder if the body raises; on a full disk it would otherwise keep occupying space."""
    try:
        yield
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> FileRecord:
    """Copy a file in blocks and flush it to disk; returns the record of the copy."""
    with source.open("rb") as original, target.open("w+b") as file:
        shutil.copyfileobj(original, file, 1 << 22)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return digest_open_file(file, source.name)


@contextmanager
def fail_if_modified(paths: Collection[Path]) -> Iterator[None]:
    """Raise TransientError if one of the files is modified while the body runs, whatever else the body raises."""
    before = {path: path.stat() for path in paths}
    try:
        yield
    finally:
        for path, previous in before.items():
            current = path.stat()
            if (current.st_size, current.st_mtime_ns) != (previous.st_size, previous.st_mtime_ns):
                raise TransientError(f"{path.name} was changed while it was read: run again")


def fsync_directory(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
