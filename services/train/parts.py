"""What is done with one part of the features, in whichever process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import TypeVar

from services.contract.parts import Part
from services.contract.workers import Held
from services.train.threads import Apply, Rows

T = TypeVar("T")


def load_scaled(part: Part) -> Rows:
    scaled: Rows = part.load()["scaled"]
    return scaled


def itself(rows: Rows) -> Rows:
    return rows


def where_they_are(held: Held) -> Apply:
    """Make the function that applies others to the parts of a table where these are held."""
    firsts = [0, *accumulate(held.each(len))][:-1]

    def apply(function: Callable[[Rows, int], T], /) -> list[T]:
        return held.each(function, firsts)

    return apply
