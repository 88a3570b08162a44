"""What is done with one part of the features, in whichever process."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagekit.volume.parts import Part
from stagekit.workers.worker_pool import PersistedParts


class Sample(NamedTuple):
    """Customers drawn from all parts."""

    features: NDArray[np.float64]
    """Array of shape (n_sampled, n_features), standardised, in the order of the table."""
    n_customers: int
    """The number of customers in all parts."""


def load_scaled(part: Part) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = part.load()["scaled"]
    return scaled


def draw_sample(held: PersistedParts, max_customers: int, *, seed: int) -> Sample:
    """Draw customers without replacement from all parts, or take all if there are no more.

    The sample does not depend on how the table is divided into parts.
    """
    ends = np.cumsum(held.map(len))
    n_customers = int(ends[-1])
    rows = np.arange(n_customers)
    if n_customers > max_customers:
        rows = np.sort(np.random.default_rng(seed).choice(n_customers, max_customers, replace=False, shuffle=False))
    firsts = [0, *ends[:-1].tolist()]
    positions = [part - first for part, first in zip(np.split(rows, np.searchsorted(rows, ends[:-1])), firsts, strict=True)]
    return Sample(np.concatenate(held.map(partial(np.take, axis=0), positions)), n_customers)
