"""Stages as processes that start quickly: forked from a server that has already imported their libraries.

A forked stage runs everything that `python -m services.<stage>` does: settings, signals, exit code. It leads its own process
group, which shows whether any of its processes remain.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from services.evaluate import structure
from services.pipeline import PIPELINE
from services.report import page

FORKS = multiprocessing.get_context("forkserver")
# Every process that runs a function of this file imports the first two.
FORKS.set_forkserver_preload(
    ["pytest", "tests.chaos.processes", "tests.services.cluster", *(f"services.{stage}.main" for stage in PIPELINE.stage_names)]
)


class Stage:
    """A running stage."""

    def __init__(self, volume: Path, stage: str, *arguments: str) -> None:
        descriptor, log = tempfile.mkstemp(prefix=f"{stage}-", suffix=".log", dir=volume.parent)
        os.close(descriptor)
        self._log = Path(log)
        self._process: ForkServerProcess = FORKS.Process(target=_become, args=(stage, [f"--volume={volume}", *arguments], log))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, number)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def wait(self) -> int:
        """Return the exit code, or minus the signal that ended the stage."""
        self._process.join(timeout=120)
        assert self._process.exitcode is not None, f"it has not ended: {self.log()}"
        return self._process.exitcode

    def has_left_processes(self) -> bool:
        """Return whether a process of the stage's group still exists after five seconds."""
        for _ in range(100):
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.05)
        return True

    def log(self) -> str:
        return self._log.read_text()


def run(volume: Path, stage: str, *arguments: str) -> tuple[int, str]:
    """Run a stage to its end; returns its exit code and its log."""
    process = Stage(volume, stage, *arguments)
    return process.wait(), process.log()


def _become(stage: str, arguments: list[str], log: str) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(log, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.argv = [stage, *arguments]
    if os.environ.get("REQUIRE_DOCKER") != "1" and os.environ.get("CHAOS") != "full":  # these take most of the time of a run
        structure.N_DRAWS = 5
        for name in [name for name in vars(page) if name.startswith(("draw_", "to_svg"))]:
            setattr(page, name, lambda *_, **__: "")
    runpy.run_module(f"services.{stage}", run_name="__main__")
