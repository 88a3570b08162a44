"""Faults of a customer table: what is reported, counted and written to faults.csv when a table is refused."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagekit.errors import DataError
from stagekit.tables.csv_injection import escape_formula

if TYPE_CHECKING:
    from stagekit.volume.workspace import Workspace

FAULTS_NAME = "faults.csv"
N_LOGGED = 20
MAX_FAULTS = 1_000_000
"""Of one file. Reading it stops there, so that a hostile file cannot fill the volume."""

_COLUMNS = ("file", "row", "column", "value", "expected")

log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """One thing that is wrong with a row."""

    file: str
    row: int
    """Line of the file in which the row begins, from 1; of a Parquet file the row, from 1."""
    column: str
    """Empty if the whole row is meant."""
    value: str
    expected: str
    complaint: str
    """For people: value and expectation in one sentence."""

    def __str__(self) -> str:
        return f"{self.file} row {self.row}: {self.complaint}"


Report = Callable[[Fault], None]


class TooManyFaultsError(Exception):
    """Reading a file ends here."""


def raise_fault(fault: Fault) -> None:
    """Refuse a table because of its first fault."""
    raise DataError(str(fault))


@dataclass
class Faults:
    """The faults of one or several files: all of them in a CSV file, counts and the first ones in memory."""

    path: Path
    """Where they are written; the file exists only if there is a fault."""
    first: list[Fault] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By column and expectation."""
    is_complete: bool = True

    def collect(self, read: Callable[[Report], Any]) -> None:
        """Call `read` with a function that takes a fault; at most MAX_FAULTS of them."""
        with ExitStack() as files:
            write: Any = None
            n_faults = 0

            def add(fault: Fault) -> None:
                nonlocal write, n_faults
                if write is None:
                    write = csv.writer(files.enter_context(self.path.open("a", newline="", encoding="utf-8"))).writerow
                write((escape_formula(fault.file), fault.row, *map(escape_formula, fault[2:5])))
                self.counts[fault.column, fault.expected] += 1
                if len(self.first) < N_LOGGED:
                    self.first.append(fault)
                n_faults += 1
                if n_faults == MAX_FAULTS:
                    raise TooManyFaultsError

            try:
                read(add)
            except TooManyFaultsError:
                self.is_complete = False


def refuse_faults(found: Sequence[Faults], work: Workspace) -> None:
    """Log the first faults of a table, leave all of them in the stage's folder, and raise DataError; none is no error."""
    faults = [one for one in found if one.first]
    if not faults:
        return
    place = work.leave(FAULTS_NAME, ",".join(_COLUMNS) + "\r\n", [one.path for one in faults])
    first = [fault for one in faults for fault in one.first][:N_LOGGED]
    counts = sum((one.counts for one in faults), Counter())
    if counts.total() == 1:
        raise DataError(str(first[0]))
    for fault in first:
        log.error("%s", fault)
    kinds = counts.most_common(N_LOGGED)
    listed = ", ".join(f"{column or 'rows'}: {number:,} × expected {expected}" for (column, expected), number in kinds)
    number = f"{counts.total():,} faults" if all(one.is_complete for one in faults) else f"more than {counts.total():,} faults"
    raise DataError(f"{first[0]}; {number} ({listed}); {place} lists them: correct the table, then run again")
