"""From where to where customers went, read and written row by row, because there may be ten million of them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import BinaryIO, NamedTuple

from services.contract.results import CHANGED_COLUMNS, UNASSIGNED_NAME
from services.contract.segment_registry import SegmentRegistry, SegmentRunEntry
from stagekit.tables.csv_injection import escape_formula


class Moves(NamedTuple):
    customers: int
    """How many there were to look at."""
    between: Counter[tuple[str, str]]
    """How many went from one segment to another, by the names of both."""


def previous_names(register: SegmentRegistry, entry: SegmentRunEntry) -> dict[int, str]:
    """Find the names of the segments that `entry` was compared with: as they were published, or else as we once named them."""
    known = {segment.segment_id: segment.name for segment in register.segments}
    predecessor = register.entry(entry.predecessor)
    return known | (predecessor.publication.segments if predecessor and predecessor.publication else {})


def write_changes(segments: Iterable[BinaryIO], before: Mapping[int, str], after: Mapping[int, str], file: BinaryIO) -> Moves:
    """Write one row for each customer who was in a segment before and is now in another one, or in none.

    Newcomers have not changed. The cells of `segments` are safe for spreadsheets already, and stay as they are.

    Parameters
    ----------
    segments : a published segments.csv, part by part
    before, after : id and name of the segments
    """
    customers = 0
    between: Counter[tuple[str, str]] = Counter()
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    # All quoted: before Python 3.13 csv leaves a carriage return unquoted, and readers take it for the end of the row.
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(CHANGED_COLUMNS)
    rows = chain.from_iterable(csv.DictReader(io.TextIOWrapper(part, encoding="utf-8", newline="")) for part in segments)
    for row in rows:
        customers += 1
        origin, target = row["previous_segment_id"], row["segment_id"]
        if origin and origin != target:
            names = _name(origin, before), _name(target, after)
            writer.writerow((row["CUST_ID"], origin, names[0], target, names[1]))
            between[names] += 1
    text.detach()
    return Moves(customers, between)


def _name(segment_id: str, names: Mapping[int, str]) -> str:
    return escape_formula(names[int(segment_id)]) if segment_id else UNASSIGNED_NAME
