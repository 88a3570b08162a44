"""A pytest plugin that prints a table of the injected faults and their outcomes."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest


class Row(NamedTuple):
    """A row of the table."""

    fault: str
    tries: int
    outcome: str


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [Row(*row) for report in reports for name, row in report.user_properties if name == "fault"]
    if rows:
        terminalreporter.section("injected faults and their outcomes")
        terminalreporter.write_line("| fault | tries | outcome |\n|---|---:|---|")
        for row in add_up(rows):
            terminalreporter.write_line(f"| {row.fault} | {row.tries:,} | {row.outcome} |")


def add_up(rows: Sequence[Row]) -> list[Row]:
    """Merge rows with the same fault and outcome."""
    tries: Counter[tuple[str, str]] = Counter()
    for row in rows:
        tries[row.fault, row.outcome] += row.tries
    return [Row(fault, count, outcome) for (fault, outcome), count in tries.items()]
