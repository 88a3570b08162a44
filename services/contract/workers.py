"""Who does the work on parts: the threads of this process.

A stage says what is to be done with each part as a plain function, and does not know who does it. pandas, NumPy and
scikit-learn compute without Python's lock, so threads use every core and hand each other arrays without copying them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_MOST_THREADS = 8  # each has a part or two in memory


class Workers(Protocol):
    """Calls functions, several at a time, wherever that is."""

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Call `function` with the items of `iterables`, and return the results in their order, each when it is ready.

        The calls begin at once. `function`, items and results can be pickled; data is passed as parts and drafts.
        """
        ...


@contextmanager
def workers() -> Iterator[Workers]:
    """Provide those who work for this stage."""
    # A container's limit on CPU time is not seen by who counts cores; whoever sets one says so in this variable.
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(min(cores, _MOST_THREADS)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # what is not begun when the stage fails need not begin
