"""Stages as processes that are there at once: forked from one that has already imported what takes them a second to import.

A forked stage goes the whole way of `python -m services.<stage>`: settings, signals, exit code. It leads a process group of its
own, by which one sees whether anything of it is left.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NoReturn

from services.contract.settings import SETTINGS
from services.contract.stage import start

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "tests.chaos.processes", *(f"services.{stage}.main" for stage in SETTINGS)])


class Stage:
    """A stage at work; its log goes to a file beside the volume."""

    def __init__(self, volume: Path, stage: str, *arguments: str, log: str = "log") -> None:
        self._log = volume.with_name(f"{volume.name}.{stage}.{log}")
        command = [stage, f"--volume={volume}", *arguments]
        self._process: ForkServerProcess = _FORKS.Process(target=_become, args=(command, self._log))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def wait(self) -> int:
        """Return the exit code, or minus the signal that ended the stage."""
        self._process.join(timeout=120)
        assert self._process.exitcode is not None, f"it has not ended: {self.log()}"
        return self._process.exitcode

    def log(self) -> str:
        return self._log.read_text()


def run(volume: Path, stage: str, *arguments: str) -> tuple[int, str]:
    """Run a stage to its end; returns its exit code and its log."""
    process = Stage(volume, stage, *arguments)
    return process.wait(), process.log()


def _become(command: list[str], log: Path) -> NoReturn:
    os.setpgid(0, 0)
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = command
    start(command[0])
