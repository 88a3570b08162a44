"""Measure processes from outside: time on the wall, time of the processors, and the most memory."""

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
REPORTED_BYTES = 1 if sys.platform == "darwin" else 1024  # in which ru_maxrss counts


SAMPLE_S = 0.05


class Run(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_mib: float
    """Of a process and those that it starts, together."""


def run(arguments: Sequence[str], *, source: Path | None = None, target: Path | None = None) -> Run:
    """Run Python with `arguments` to its end, its stdin from `source` and its stdout to `target`.

    Raises CalledProcessError with what it said where it fails.
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
    """Add up what a process and its children have in memory, again and again; what they share counts for each."""
    sums, ended = [0], threading.Event()

    def watch() -> None:
        process = psutil.Process(pid)
        while not ended.wait(SAMPLE_S):
            with suppress(psutil.Error):  # one has just ended
                sums.append(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield sums
    finally:
        ended.set()
        watching.join()


def alternate(contestants: Mapping[str, Callable[[], Mapping[str, Run]]], runs: int) -> dict[str, dict[str, list[Run]]]:
    """Let the contestants take turns, `runs` times each, so that whatever disturbs the machine disturbs all of them.

    A contestant returns its runs by what they are called; they are collected under both names.
    """
    found: dict[str, dict[str, list[Run]]] = {name: {} for name in contestants}
    for _ in range(runs):
        for name, contest in contestants.items():
            for what, one in contest().items():
                found[name].setdefault(what, []).append(one)
    return found


def median(runs: Sequence[Run]) -> Run:
    return Run(*(statistics.median(column) for column in zip(*runs, strict=True)))


def total(runs: Sequence[Run]) -> Run:
    """Processes that run one after another, taken together."""
    seconds, cpu_seconds, peak_mib = zip(*runs, strict=True)
    return Run(sum(seconds), sum(cpu_seconds), max(peak_mib))
