"""What an exit code means, and which one an error of the operating system gets."""

import errno
import os

import pytest

from stagekit.errors import ExitCode, SetupError, StageError, TransientError, UsageError, from_os_error


def test_every_code_says_what_it_means():
    assert len({code.meaning for code in ExitCode}) == len(ExitCode)


def test_every_code_but_that_of_success_has_one_error_that_ends_with_it():
    codes = [StageError.exit_code, *(kind.exit_code for kind in StageError.__subclasses__())]
    assert sorted(codes) == sorted(set(ExitCode) - {ExitCode.SUCCESS})


def test_only_defects_and_passing_trouble_are_worth_another_try():
    assert [code for code in ExitCode if code.retry_can_help] == [70, 75]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume_is_passing_trouble(number):
    error = from_os_error(OSError(number, "it says", "/shared/runs"))
    assert type(error) is TransientError
    assert str(error) == "the volume is full (/shared/runs): free some space, then run the stage again"


def test_a_volume_that_is_mounted_read_only_is_set_up_wrong():
    error = from_os_error(OSError(errno.EROFS, "it says", "/shared/runs"))
    assert type(error) is SetupError
    assert str(error) == "the volume is read-only (/shared/runs): mount it writable"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_who_may_not_use_the_volume_is_named(number):
    error = from_os_error(OSError(number, "it says"))
    assert type(error) is SetupError
    assert str(error) == f"user {os.getuid()}:{os.getgid()} may not use the volume: give that user or group access to it"


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EILSEQ, errno.ELOOP, errno.EINVAL])
def test_a_path_that_the_file_system_refuses_is_a_matter_of_the_settings(number):
    error = from_os_error(OSError(number, "it says", "/shared/" + "x" * 5000))
    assert type(error) is UsageError
    assert str(error).startswith("the file system of the volume refuses a path (/shared/xxx")
    assert str(error).endswith("x…): it says; use another one")
    assert len(str(error)) < 400


def test_an_invalid_argument_that_is_no_path_may_pass():
    assert type(from_os_error(OSError(errno.EINVAL, "Invalid argument"))) is TransientError


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR])
def test_a_file_in_the_place_of_a_folder_is_a_matter_of_setup(number):
    error = from_os_error(OSError(number, "it says", "/shared/runs"))
    assert type(error) is SetupError
    assert "(/shared/runs): it says" in str(error)


def test_any_other_trouble_with_the_volume_may_pass():
    error = from_os_error(OSError(errno.EIO, "Input/output error"))
    assert type(error) is TransientError
    assert str(error) == "the volume failed: [Errno 5] Input/output error"
