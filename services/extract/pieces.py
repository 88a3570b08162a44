"""Cut CSV files into pieces of a size, each of which can be read without the others."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from services.contract.errors import DataError
from services.contract.tables import find_first_row

_SAMPLE = 1 << 20  # bytes to measure rows by


class Span(NamedTuple):
    """The rows of a file that begin in a range of its bytes."""

    path: Path
    start: int
    end: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(max(0, self.end - self.start))


Piece = tuple[Span, ...]
"""What makes one part: a span of a large file, or several small files."""


def cut(paths: Sequence[Path], rows: int) -> list[Piece]:
    """Cut files into pieces of about `rows` rows, in their order, at line ends.

    A quoted cell may contain a line end, and a cut may fall there: then the piece before it ends with an open quote.
    """
    starts = [find_first_row(path) for path in paths]
    length = max(1, rows * _row_length(paths, starts))
    pieces: list[Piece] = []
    room = 0
    for path, start in zip(paths, starts, strict=True):
        for span in _spans(path, start, length):
            if pieces and span.end - span.start <= room:
                pieces[-1] = (*pieces[-1], span)
            else:
                pieces.append((span,))
                room = length
            room -= span.end - span.start
    return pieces


def _row_length(paths: Sequence[Path], starts: Sequence[int]) -> int:
    """Measure how long a row is on average, from the first rows that there are."""
    for path, start in zip(paths, starts, strict=True):
        with path.open("rb") as file:
            file.seek(start)
            sample = file.read(_SAMPLE)
        if sample:
            return -(-len(sample) // max(1, sample.count(b"\n")))
    return 1


def _spans(path: Path, start: int, length: int) -> list[Span]:
    cuts = [start]
    with path.open("rb") as file:
        size = file.seek(0, 2)
        while cuts[-1] < size:
            file.seek(min(cuts[-1] + length, size) - 1)
            file.readline()
            cuts.append(file.tell())
    return [Span(path, *ends) for ends in pairwise(cuts)]


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a .gz file into `folder`, under its own name, by which errors in it are to be reported.

    Raises DataError where it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    try:
        with gzip.open(path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 22)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be unpacked: {error}: is it damaged, or no gzip file?") from None
    return target
