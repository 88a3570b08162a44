"""Progress bars, with rate and remaining time, for people who watch a stage on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_SHOW_AFTER_S = 0.5  # shorter operations have no bar


def progress(items: Iterable[T], label: str, total: int | None = None, unit: str = "part") -> Iterable[T]:
    """Return the items; if stderr is a terminal, a bar there shows how many of them were taken.

    Parameters
    ----------
    items : iterable
        Each is taken when the work on it is done, like the results of a pool.
    label : str
        What is done.
    total : int or None
        Number of items; without it the bar shows no remaining time.
    unit : str
        What an item is.
    """
    return _show(items, label, total, unit) if sys.stderr.isatty() else items


def label_of(function: Callable[..., Any]) -> str:
    """Name the work of a function: `write part` for `write_part`."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", "work").strip("_").replace("_", " ")


def _show(items: Iterable[T], label: str, total: int | None, unit: str) -> Iterator[T]:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with (
        logging_redirect_tqdm(),  # log lines go above the bar
        tqdm(items, label, total, leave=False, unit=f" {unit}", delay=_SHOW_AFTER_S, dynamic_ncols=True) as bar,
    ):
        yield from bar
