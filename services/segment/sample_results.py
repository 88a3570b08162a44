"""What is computed on the sample: description, value, rules, and stability across k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.contract.results import Description, Rules, Segmentation
from services.segment.across_k import compare_across_k
from services.segment.assignment import Segmenter, assign
from services.segment.description import describe
from services.segment.rules import find_rules
from services.segment.sampling import Sample
from services.segment.value import share_totals


class SampleResults(NamedTuple):
    """Results that are computed on the sample."""

    segmentation: Segmentation
    """With description, value and stability across k."""
    description: pd.DataFrame
    rules: Rules


def evaluate_sample(
    sample: Sample, segmenter: Segmenter, segmentation: Segmentation, centroids: Mapping[int, NDArray[np.float64]]
) -> SampleResults:
    """Describe the segments by all columns, by their value, by rules, and by what becomes of them with other k.

    Parameters
    ----------
    sample : Sample
    segmenter : Segmenter
        Of this run.
    segmentation : Segmentation
        Of this run, without these results.
    centroids : mapping of k to ndarray of shape (k, n_features)
        Solutions with other numbers of clusters, standardised.
    """
    preparation = segmenter.preparation
    segment_ids = segmenter.segment_ids[assign(sample.prepared, preparation, segmenter.centroids).cluster]
    sizes = {segment.segment_id: segment.customers for segment in segmentation.segments}
    value, not_amounts = share_totals(sample.customers, segment_ids, sizes)
    described = Description(
        customers=len(segment_ids), is_sample=sample.is_sample, left_out=dict(sorted(sample.left_out.items()))
    )
    across_k = compare_across_k(preparation.transform(sample.prepared), segment_ids, centroids)
    return SampleResults(
        segmentation=segmentation.model_copy(
            update={"description": described, "value": value, "not_amounts": not_amounts, "across_k": across_k}
        ),
        description=describe(sample.customers, segment_ids, sizes, preparation.feature_columns),
        rules=find_rules(sample.prepared[list(preparation.feature_columns)], segment_ids, sizes),
    )
