"""The commands that the tests give, as a user would."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

TAG = f"test-{os.getpid()}"
"""The images under test; what a user, or another test run on this engine, has built stays as it is."""


def make(*arguments: str, check: bool = True, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with variables on its command line; capitals only, as in `make run-stage STAGE=train`."""
    command = ["make", *arguments, *(f"{name}={value}" for name, value in variables.items())]
    # A recipe must not see what the test run itself was started with.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, input=stdin, capture_output=True, text=True)
    if check and ended.returncode:
        pytest.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended


def docker(*arguments: str) -> str:
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, f"docker {' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout.strip()
