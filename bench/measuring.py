"""Measure processes from outside: wall time, CPU time and peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

REPOSITORY = Path(__file__).parents[1]
REPORTED_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


SAMPLE_S = 0.05


class Run(NamedTuple):
    """One run of a process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    """Of the process together with its children."""


def run(arguments: Sequence[str], *, source: Path | None = None, target: Path | None = None) -> Run:
    """Run Python with `arguments`, with stdin from `source` and stdout to `target`.

    Raises
    ------
    CalledProcessError
        The process failed.
    """
    with (
        (source or Path(os.devnull)).open("rb") as stdin,
        (target or Path(os.devnull)).open("wb") as stdout,
    ):
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, cwd=REPOSITORY
        )
        with _watching(process.pid) as peak:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(arguments))
    return Run(seconds, usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss * REPORTED_BYTES, *peak) / 2**20)


@contextmanager
def _watching(pid: int) -> Iterator[list[int]]:
    """Sample the memory of a process and its children; shared pages count for each of them."""
    sums, ended = [0], threading.Event()

    def watch() -> None:
        process = psutil.Process(pid)
        while not ended.wait(SAMPLE_S):
            with suppress(psutil.Error):  # a process has just ended
                sums.append(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield sums
    finally:
        ended.set()
        watching.join()


def alternate(contestants: Mapping[str, Callable[[], Mapping[str, Run]]], runs: int) -> dict[str, dict[str, list[Run]]]:
    """Run the contestants in turns, `runs` times each, so that other load on the machine affects all of them.

    Returns
    -------
    dict
        For each contestant, its runs by the names under which it returns them.
    """
    measured: dict[str, dict[str, list[Run]]] = {name: {} for name in contestants}
    for _ in range(runs):
        for name, contest in contestants.items():
            for part, one in contest().items():
                measured[name].setdefault(part, []).append(one)
    return measured


def median(runs: Sequence[Run]) -> Run:
    """Return the median of each figure."""
    return Run(*(statistics.median(column) for column in zip(*runs, strict=True)))


def total(runs: Sequence[Run]) -> Run:
    """Add up processes that run one after another."""
    seconds, cpu_seconds, peak_mib = zip(*runs, strict=True)
    return Run(sum(seconds), sum(cpu_seconds), max(peak_mib))
