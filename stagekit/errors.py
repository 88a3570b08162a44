"""How a stage fails: an exit code that classifies the failure, and one line that names the remedy.

The codes are those of BSD's sysexits.h. Airflow must distinguish failures that a retry can resolve from those that it cannot,
and sees only the exit code and the output of a container.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """A stage's exit code and its meaning in a few words."""

    # Without parentheses: Airflow's side parses `failed (75, meaning): ...`.
    SUCCESS = os.EX_OK, "success"
    USAGE = os.EX_USAGE, "invalid settings"  # 64
    DATA = os.EX_DATAERR, "invalid data"  # 65
    NO_INPUT = os.EX_NOINPUT, "missing input"  # 66
    INTERNAL_ERROR = os.EX_SOFTWARE, "internal error"  # 70
    TRANSIENT = os.EX_TEMPFAIL, "transient error"  # 75
    SETUP = os.EX_CONFIG, "volume or image misconfigured"  # 78
    OUT_OF_MEMORY = 137, "out of memory"  # 128 + SIGKILL: the kernel's out-of-memory killer

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member whose value is the code."""
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    @property
    def retry_can_help(self) -> bool:
        """Whether Airflow should retry the task."""
        return self in (ExitCode.INTERNAL_ERROR, ExitCode.TRANSIENT)


class StageError(Exception):
    """Ends a stage with its `exit_code`; the message contains what was found, what was expected, and the remedy."""

    exit_code = ExitCode.INTERNAL_ERROR


class UsageError(StageError):
    """The command line or a setting is invalid."""

    exit_code = ExitCode.USAGE


class DataError(StageError):
    """The data is invalid; the message names file, column, row and value."""

    exit_code = ExitCode.DATA


class MissingInputError(StageError):
    """An input does not exist; the message names the stage to run first."""

    exit_code = ExitCode.NO_INPUT


class TransientError(StageError):
    """A failure that a retry may resolve: a signal, a full disk, a lock that another process holds."""

    exit_code = ExitCode.TRANSIENT


class SetupError(StageError):
    """The volume or the image is not set up as the stage requires."""

    exit_code = ExitCode.SETUP


class OutOfMemoryError(StageError):
    """The data does not fit into the memory limit."""

    exit_code = ExitCode.OUT_OF_MEMORY


def from_os_error(error: OSError) -> StageError:
    """Classify an error of the operating system; a stage meets those only on the volume."""
    where = f" ({_shorten(error.filename)})" if error.filename else ""
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP) or (error.errno == errno.EINVAL and where):
        return UsageError(f"the file system of the volume rejects a path{where}: {error.strerror}; use another one")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return SetupError(f"a file is where the volume should have a folder, or vice versa{where}: {error.strerror}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TransientError(f"the volume is full{where}: free some space, then run the stage again")
    if error.errno == errno.EROFS:
        return SetupError(f"the volume is read-only{where}: mount it writable")
    if error.errno in (errno.EACCES, errno.EPERM):
        user = f"{os.getuid()}:{os.getgid()}"
        return SetupError(f"user {user} may not use the volume{where}: give that user or group access to it")
    return TransientError(f"the volume failed: {error}")


def _shorten(path: str | bytes | int) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:200]}…"
