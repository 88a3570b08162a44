"""Commands that the tests run like a user."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

TAG = f"test-{os.getpid()}"
"""The tag of the images under test; images of users and of other test runs on this engine are not touched."""


def make(*arguments: str, check: bool = True, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with variables on its command line; capitals only, as in `make run-stage STAGE=train`."""
    command = ["make", *arguments, *(f"{name}={value}" for name, value in variables.items())]
    # A recipe must not inherit the variables of a make that has started the tests.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, input=stdin, capture_output=True, text=True)
    if check and ended.returncode:
        pytest.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended


def docker(*arguments: str) -> str:
    """Run docker and return its stdout."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, f"docker {' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.strip()
