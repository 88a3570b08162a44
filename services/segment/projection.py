"""A sample of customers for charts: their positions in two dimensions, and how well each fits its segment."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from services.contract.preparation import Preparation
from services.contract.results import POINTS_COLUMNS
from services.segment.part_tasks import CustomerPart
from stagekit.workers.worker_pool import PersistedParts

_SEED = 7
_MAX_POINTS = 2000
_DIGITS = 6


def draw_points(parts: PersistedParts, preparation: Preparation) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Draw at most 2,000 customers who have a cluster, with a fixed seed, in the order of the table.

    Returns
    -------
    features : ndarray of shape (n_points, n_features)
        Standardised.
    cluster : ndarray of shape (n_points,)
    """
    ends = np.cumsum(parts.map(_count_assigned))
    rows = np.arange(ends[-1])
    if len(rows) > _MAX_POINTS:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _MAX_POINTS, replace=False))
    firsts = [0, *ends[:-1].tolist()]
    chosen = [of_part - first for of_part, first in zip(np.split(rows, np.searchsorted(rows, ends[:-1])), firsts, strict=True)]
    points = parts.map(partial(_take_points, preparation=preparation), chosen)
    features, cluster = (np.concatenate(arrays) for arrays in zip(*points, strict=True))
    return features, cluster


def _count_assigned(part: CustomerPart) -> int:
    return int(part.assigned.is_assigned.sum())


def _take_points(
    part: CustomerPart, chosen: NDArray[np.intp], *, preparation: Preparation
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    rows = np.flatnonzero(part.assigned.is_assigned)[chosen]
    cluster = part.assigned.cluster[rows]
    if not rows.size:
        return np.empty((0, len(preparation.feature_columns))), cluster
    return preparation.transform(part.columns.iloc[rows][list(preparation.columns)]), cluster


def project_points(features: NDArray[np.float64], segment_ids: NDArray[np.int64]) -> pd.DataFrame:
    """Make points.csv.

    x and y are the first two principal components of the features; y is 0 if there is one feature. The silhouette is computed
    within the sample; it is 0 if a segment has one customer in it.

    Parameters
    ----------
    features : ndarray of shape (n_points, n_features)
        Standardised.
    segment_ids : ndarray of shape (n_points,)
    """
    plane = np.zeros((len(features), 2))
    n_components = min(2, *features.shape)
    plane[:, :n_components] = PCA(n_components, svd_solver="full").fit_transform(features)
    can_compare = 2 <= len(np.unique(segment_ids)) < len(segment_ids)
    silhouette = silhouette_samples(features, segment_ids) if can_compare else np.zeros(len(segment_ids))
    values = (plane[:, 0].round(_DIGITS), plane[:, 1].round(_DIGITS), segment_ids, silhouette.round(_DIGITS))
    return pd.DataFrame(dict(zip(POINTS_COLUMNS, values, strict=True)))
