"""Progress bars, with rate and remaining time, for people who watch a stage on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_SHOW_AFTER_S = 0.5  # shorter operations have no bar
_POLL_S = 0.1


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


@contextmanager
def polled_progress(read_share: Callable[[], float], label: str, n_bytes: int) -> Iterator[None]:
    """Show, if stderr is a terminal, a bar there while the body runs.

    Parameters
    ----------
    read_share : callable
        Returns which share of the bytes is done, from 0 to 1; it is called in another thread.
    label : str
        What is done.
    n_bytes : int
        All bytes.
    """
    if not sys.stderr.isatty():
        yield
        return
    with _open_bar(None, label, n_bytes, unit="B", unit_scale=True) as bar:
        has_ended = threading.Event()

        def poll() -> None:
            while not has_ended.wait(_POLL_S):
                bar.update(max(round(read_share() * n_bytes) - bar.n, 0))

        polling = threading.Thread(target=poll, name="progress")
        polling.start()
        try:
            yield
        finally:
            has_ended.set()
            polling.join()


def _show(items: Iterable[T], label: str, total: int | None, unit: str) -> Iterator[T]:
    with _open_bar(items, label, total, unit=f" {unit}") as bar:
        yield from bar


@contextmanager
def _open_bar(items: Iterable[Any] | None, label: str, total: int | None, **units: Any) -> Iterator[Any]:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with (
        logging_redirect_tqdm(),  # log lines go above the bar
        tqdm(items, label, total, leave=False, delay=_SHOW_AFTER_S, dynamic_ncols=True, **units) as bar,
    ):
        yield bar
