"""What an exit code means, and which one an error of the operating system gets."""

import errno
import os

import pytest

from stagekit.errors import ExitCode, SetupError, StageError, TransientError, UsageError, from_os_error


def test_every_code_has_a_different_meaning():
    assert len({code.meaning for code in ExitCode}) == len(ExitCode)


def test_every_code_but_that_of_success_has_one_error_that_ends_with_it():
    codes = [StageError.exit_code, *(kind.exit_code for kind in StageError.__subclasses__())]
    assert sorted(codes) == sorted(set(ExitCode) - {ExitCode.SUCCESS})


def test_only_internal_and_transient_errors_are_retried():
    assert [code for code in ExitCode if code.retry_can_help] == [70, 75]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume_is_a_transient_error(number):
    error = from_os_error(OSError(number, "a reason", "/shared/runs"))
    assert type(error) is TransientError
    assert str(error) == "the volume is full (/shared/runs): free some space, then run the stage again"


def test_a_read_only_volume_is_a_setup_error():
    error = from_os_error(OSError(errno.EROFS, "a reason", "/shared/runs"))
    assert type(error) is SetupError
    assert str(error) == "the volume is read-only (/shared/runs): mount it writable"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_user_without_access_to_the_volume_is_named(number):
    error = from_os_error(OSError(number, "a reason"))
    assert type(error) is SetupError
    assert str(error) == f"user {os.getuid()}:{os.getgid()} may not use the volume: give that user or group access to it"


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP, errno.EINVAL])
def test_a_path_that_the_file_system_rejects_is_a_usage_error(number):
    error = from_os_error(OSError(number, "a reason", "/shared/" + "x" * 5000))
    assert type(error) is UsageError
    assert str(error).startswith("the file system of the volume rejects a path (/shared/xxx")
    assert str(error).endswith("x…): a reason; use another one")
    assert len(str(error)) < 400


def test_an_invalid_argument_without_a_path_is_a_transient_error():
    assert type(from_os_error(OSError(errno.EINVAL, "Invalid argument"))) is TransientError


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR])
def test_a_file_in_place_of_a_folder_is_a_setup_error(number):
    error = from_os_error(OSError(number, "a reason", "/shared/runs"))
    assert type(error) is SetupError
    assert "(/shared/runs): a reason" in str(error)


def test_any_other_error_of_the_volume_is_transient():
    error = from_os_error(OSError(errno.EIO, "Input/output error"))
    assert type(error) is TransientError
    assert str(error) == "the volume failed: [Errno 5] Input/output error"
