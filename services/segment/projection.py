"""A sample of customers for pictures: where they lie in two dimensions, and how well each fits its segment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from services.contract.preparation import Preparation
from services.contract.results import POINTS_COLUMNS
from services.segment.segments_csv import NO_SEGMENT

_SEED = 7
_MOST = 2000
_DIGITS = 6


def project_sample(customers: pd.DataFrame, preparation: Preparation, segment_ids: NDArray[np.int64]) -> pd.DataFrame:
    """Make points.csv of at most 2,000 customers with a segment, drawn with a fixed seed, in the order of the table.

    x and y are the first two principal components of the standardised features of the sample; y is 0 where there is one
    feature. The silhouette is computed within the sample; it is 0 where a segment has one customer in it.

    Parameters
    ----------
    customers : DataFrame of shape (n_customers, n_columns)
    segment_ids : shape (n_customers,), NO_SEGMENT for none
    """
    rows = np.flatnonzero(segment_ids > NO_SEGMENT)
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _MOST, replace=False))
    features = preparation.transform(customers.iloc[rows][list(preparation.columns)])
    ids = segment_ids[rows]
    plane = np.zeros((len(rows), 2))
    n_components = min(2, *features.shape)
    plane[:, :n_components] = PCA(n_components, svd_solver="full").fit_transform(features)
    can_compare = 2 <= len(np.unique(ids)) < len(ids)
    silhouette = silhouette_samples(features, ids) if can_compare else np.zeros(len(ids))
    values = (plane[:, 0].round(_DIGITS), plane[:, 1].round(_DIGITS), ids, silhouette.round(_DIGITS))
    return pd.DataFrame(dict(zip(POINTS_COLUMNS, values, strict=True)))
