"""Faults, each tried many times, and one table of what became of them.

`make chaos` tries each as often as docs/faults.md says; `make test` runs the very same tests with a few tries each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

FULL = os.environ.get("CHAOS") == "full"


class Row(NamedTuple):
    """A line of the table."""

    fault: str
    tries: int
    happened: str


@pytest.fixture(scope="session")
def tries() -> Callable[[int, int], int]:
    """How often to try a fault: `tries(10, 200)` is ten times in `make test`, two hundred in `make chaos`."""
    return lambda short, full: full if FULL else short


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Enter a fault into the table: what it is, how often it was tried, what happened."""

    def enter(fault: str, tries: int, happened: str) -> None:
        request.node.user_properties.append(("fault", Row(fault, tries, happened)))

    return enter


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [row for report in reports for name, row in report.user_properties if name == "fault"]
    if rows:
        terminalreporter.section("faults, and what became of them")
        terminalreporter.write_line("| fault | tries | what happened |\n|---|---|---|")
        for row in rows:
            terminalreporter.write_line(f"| {row.fault} | {row.tries:,} | {row.happened} |")
