"""Faults of a table: reported by a reader, counted, and written to faults.csv when the table is rejected."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable, Sequence
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
"""Of one file. Reading stops there, so that a hostile file cannot fill the volume."""

_COLUMNS = ("file", "row", "column", "value", "expected")

log = logging.getLogger(__name__)


class Fault(NamedTuple):
    """An error in a row."""

    file: str
    row: int
    """Number, from 1, of the line at which the row begins; in a Parquet file the number of the row."""
    column: str
    """Empty if the row as a whole is invalid."""
    value: str
    expected: str
    message: str
    """Value and expectation in one sentence."""

    def __str__(self) -> str:
        """Return file, row and message."""
        return f"{self.file} row {self.row}: {self.message}"


Report = Callable[[Fault], None]


class _TooManyFaultsError(Exception):
    pass


def raise_fault(fault: Fault) -> None:
    """Reject a table at its first fault."""
    raise DataError(str(fault))


@dataclass
class Faults:
    """The faults of one or several files: all of them in a CSV file, their counts and the first ones in memory."""

    path: Path
    """The CSV file."""
    first: list[Fault] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By column and expectation."""
    is_complete: bool = True

    def collect(self, read: Callable[[Report], Any]) -> None:
        """Call `read` with a function that accepts faults, and stop it at MAX_FAULTS."""
        n_faults = 0
        with self.path.open("a", newline="", encoding="utf-8") as file:
            write = csv.writer(file).writerow

            def add(fault: Fault) -> None:
                nonlocal n_faults
                write((escape_formula(fault.file), fault.row, *map(escape_formula, fault[2:5])))
                self.counts[fault.column, fault.expected] += 1
                if len(self.first) < N_LOGGED:
                    self.first.append(fault)
                n_faults += 1
                if n_faults == MAX_FAULTS:
                    raise _TooManyFaultsError

            try:
                read(add)
            except _TooManyFaultsError:
                self.is_complete = False


def raise_if_faulty(tables: Sequence[Faults], work: Workspace) -> None:
    """Log the first faults of a table's files, write all of them to the stage's folder, and raise DataError.

    Without faults, nothing happens.
    """
    faulty = [faults for faults in tables if faults.first]
    if not faulty:
        return
    path = work.folder.leave(FAULTS_NAME, ",".join(_COLUMNS) + "\r\n", [faults.path for faults in faulty])
    first = [fault for faults in faulty for fault in faults.first][:N_LOGGED]
    counts = sum((faults.counts for faults in faulty), Counter())
    if counts.total() == 1:
        raise DataError(str(first[0]))
    for fault in first:
        log.error("%s", fault)
    kinds = ", ".join(
        f"{column or 'rows'}: {n:,} × expected {expected}" for (column, expected), n in counts.most_common(N_LOGGED)
    )
    more_than = "" if all(faults.is_complete for faults in faulty) else "more than "
    raise DataError(
        f"{first[0]}; {more_than}{counts.total():,} faults ({kinds}); {path} lists them: correct the table, then run again"
    )
