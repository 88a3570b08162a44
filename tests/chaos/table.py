"""A pytest plugin: one table of the faults that were tried, and of what became of them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest


class Row(NamedTuple):
    """A line of the table."""

    fault: str
    tries: int
    happened: str


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [Row(*row) for report in reports for name, row in report.user_properties if name == "fault"]
    if rows:
        terminalreporter.section("faults, and what became of them")
        terminalreporter.write_line("| fault | tries | what happened |\n|---|---:|---|")
        for row in add_up(rows):
            terminalreporter.write_line(f"| {row.fault} | {row.tries:,} | {row.happened} |")


def add_up(rows: Sequence[Row]) -> list[Row]:
    """Make one line of those that tell the same."""
    tries: Counter[tuple[str, str]] = Counter()
    for row in rows:
        tries[row.fault, row.happened] += row.tries
    return [Row(fault, count, happened) for (fault, happened), count in tries.items()]
