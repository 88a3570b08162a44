"""Draw a sample of the customers from all parts of the features."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagekit.workers.worker_pool import PersistedParts


class Sample(NamedTuple):
    """Customers drawn from all parts."""

    features: NDArray[np.float64]
    """Array of shape (n_sampled, n_features), standardised, in the order of the table."""
    n_customers: int
    """The number of customers in all parts."""


def draw_sample(features: PersistedParts, max_customers: int, *, seed: int) -> Sample:
    """Draw customers without replacement from all parts, or take all if there are no more.

    The sample does not depend on how the table is divided into parts.

    Parameters
    ----------
    features : PersistedParts
        Standardised features, each part an ndarray of shape (n_part, n_features).
    max_customers : int
    seed : int
    """
    end_rows = np.cumsum(features.map(len))
    n_customers = int(end_rows[-1])
    rows = np.arange(n_customers)
    if n_customers > max_customers:
        rows = np.sort(np.random.default_rng(seed).choice(n_customers, max_customers, replace=False, shuffle=False))
    first_rows = [0, *end_rows[:-1].tolist()]
    rows_by_part = np.split(rows, np.searchsorted(rows, end_rows[:-1]))
    positions = [part - first for part, first in zip(rows_by_part, first_rows, strict=True)]
    return Sample(np.concatenate(features.map(partial(np.take, axis=0), positions)), n_customers)
