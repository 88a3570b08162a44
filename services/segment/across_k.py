"""Stability across k: which segments exist in the solutions with fewer and with more clusters."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from services.contract.results import AcrossK, ClusterFlow, SegmentAcrossK


def neighbouring_k(k_values: Collection[int], chosen_k: int) -> list[int]:
    """Return the next smaller and the next larger number of clusters that was fitted, as far as there are any."""
    smaller, larger = [k for k in k_values if k < chosen_k], [k for k in k_values if k > chosen_k]
    return [*([max(smaller)] if smaller else []), *([min(larger)] if larger else [])]


def compare_across_k(
    features: NDArray[np.float64], segment_ids: NDArray[np.integer], centroids: Mapping[int, NDArray[np.float64]]
) -> tuple[AcrossK, ...]:
    """Compare the segments with the clusters of other solutions.

    Parameters
    ----------
    features : ndarray of shape (n_customers, n_features)
        Standardised features of customers who have a segment.
    segment_ids : ndarray of shape (n_customers,)
    centroids : mapping of k to ndarray of shape (k, n_features)
        The other solutions, standardised.

    Returns
    -------
    tuple of AcrossK
        In the order of `centroids`.

    References
    ----------
    Dolnicar, S. and Leisch, F. (2017). Using segment level stability to select target segments in data-driven market
    segmentation studies. Marketing Letters 28, 423-436.
    """
    results = []
    for k, others in centroids.items():
        table = pd.crosstab(segment_ids, cdist(features, others).argmin(axis=1)).reindex(columns=range(k), fill_value=0)
        ids, counts = table.index, table.to_numpy()
        in_either = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
        jaccard = counts / in_either
        best = jaccard.argmax(axis=1)
        flows = [
            ClusterFlow(cluster=int(column), segment_id=int(ids[row]), customers=int(counts[row, column]))
            for row, column in np.argwhere(counts)
        ]
        segments = [
            SegmentAcrossK(
                segment_id=int(ids[row]),
                best_cluster=int(best[row]),
                best_jaccard=round(float(jaccard[row, best[row]]), 6),
                slsa=round(slsa(counts[row]), 6),
            )
            for row in range(len(ids))
        ]
        results.append(AcrossK(k=k, customers=len(features), flows=tuple(flows), segments=tuple(segments)))
    return tuple(results)


def slsa(counts: NDArray[np.integer]) -> float:
    """Compute the segment level stability across solutions of one segment: 1 - entropy / log(k).

    Parameters
    ----------
    counts : ndarray of shape (k,)
        Customers of the segment in each cluster of the other solution, k at least 2; not all zero.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(counts)))
