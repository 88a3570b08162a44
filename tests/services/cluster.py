"""A Dask scheduler and its workers as processes, which end with the test that started them.

They are forked like the stages of `tests/chaos/processes.py`, and go the whole way of `dask scheduler` and `dask worker`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Worker, WorkerPlugin
from distributed.cli import dask_scheduler, dask_worker

from tests.chaos.processes import FORKS
from tests.docker.commands import REPOSITORY

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PROGRAMS = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
_fatal: Fatal | None = None


def make_certificates(folder: Path) -> None:
    """Run the commands of docs/scaling.md, which make ca.pem, dask.pem and dask.key."""
    folder.mkdir()
    (commands,) = re.findall(r"```sh\n([^`]*openssl[^`]*)```", (REPOSITORY / "docs/scaling.md").read_text())
    subprocess.run(["sh", "-euc", commands], cwd=folder, check=True, capture_output=True)


class Fatal(WorkerPlugin):
    """Kills a process, or the worker itself, in the middle of the task with this number that the worker starts."""

    def __init__(self, number: int, process: int | None = None) -> None:
        self.left = number
        self.process = process

    def transition(self, _key: Any, _start: str, finish: str, **_: Any) -> None:
        self.left -= finish == "executing"
        if finish == "executing" and self.left == 0:
            os.kill(self.process or os.getpid(), signal.SIGKILL)


def dask_setup(worker: Worker) -> Any:
    """Called by a worker that loads this file as its preload module."""
    return worker.plugin_add(_fatal)


class Process:
    """`dask scheduler` or `dask worker`."""

    def __init__(self, folder: Path, program: str, *arguments: str, config: dict[str, Any], fatal: Fatal | None = None) -> None:
        self._log = folder / f"{program}-{time.monotonic_ns()}.log"
        self._log.touch()
        self._process = FORKS.Process(target=_become, args=(program, arguments, str(self._log), config, fatal), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def wait_for_log(self, pattern: str) -> str:
        """Return the match of the only group of the pattern in its log."""
        for _ in range(1200):
            if found := re.search(pattern, self._log.read_text()):
                return found[1]
            if not self._process.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"the log does not match {pattern}: {self._log.read_text()}")

    def has_died(self) -> bool:
        self._process.join(timeout=10)
        return not self._process.is_alive()

    def end(self) -> None:
        self._process.kill()
        self._process.join()


class Cluster:
    def __init__(self, folder: Path, *flags: str, config: dict[str, Any] | None = None) -> None:
        self._folder = folder
        self._config = config or {}
        self._flags = flags
        self._closing = ExitStack()
        protocol = "tls" if flags else "tcp"
        self.scheduler = self._start(
            "scheduler", f"--host={protocol}://127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0"
        )
        self.address = self.scheduler.wait_for_log(r"Scheduler at: +(\S+)")

    def add_worker(self, fatal: Fatal | None = None) -> Process:
        preload = ["--preload", __name__] if fatal else []
        worker = self._start("worker", self.address, "--nthreads=1", "--no-nanny", "--no-dashboard", *preload, fatal=fatal)
        worker.wait_for_log("(Registered)")
        return worker

    def _start(self, program: str, *arguments: str, fatal: Fatal | None = None) -> Process:
        process = Process(self._folder, program, *arguments, *self._flags, config=self._config, fatal=fatal)
        self._closing.callback(process.end)
        return process

    def end(self) -> None:
        self._closing.close()


@contextmanager
def running(folder: Path, workers: int, *flags: str, config: dict[str, Any] | None = None) -> Iterator[Cluster]:
    """Start a cluster; `flags` are for scheduler and workers alike, `config` is Dask's."""
    cluster = Cluster(folder, *flags, config=config)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.end()


def _become(program: str, arguments: list[str], log: str, config: dict[str, Any], fatal: Fatal | None) -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.chdir(Path(log).parent)
    for stream in sys.stdout, sys.stderr:
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), stream.fileno())
    dask.config.set(config)
    global _fatal
    _fatal = fatal
    _PROGRAMS[program](args=arguments, prog_name=program)
