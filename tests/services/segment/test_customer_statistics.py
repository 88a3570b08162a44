import numpy as np
import pandas as pd
import pytest

from services.segment.assignment import UNASSIGNED
from services.segment.customer_statistics import collect_statistics, draw_sample, merge_sums, quantiles, sum_features
from services.transform.features import fit_preparation
from tests.services.segment.runs import FEATURES, assigned_parts, group, table

RNG = np.random.default_rng(0)
MANY = pd.DataFrame({"x": RNG.lognormal(size=20_000)})
CLUSTERS = RNG.choice([0, 1, 2, UNASSIGNED], 20_000, p=[0.9, 0.09, 0.005, 0.005])


def test_sums_of_parts_are_those_of_the_whole():
    values, cluster = RNG.normal(5, 2, (100, 3)), RNG.integers(0, 4, 100)
    whole = sum_features(values, cluster, 4)
    merged = merge_sums([sum_features(values[rows], cluster[rows], 4) for rows in (slice(0, 1), slice(1, 1), slice(1, 100))])
    for one, other in zip(whole, merged, strict=True):
        np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(whole.deviation, values.std(axis=0))


def test_reasons_and_missing_groups_are_counted_over_all_parts():
    customers = table(group("savers", 5), group("buyers", 5)).assign(REGION=["1", "2"] * 5)
    preparation = fit_preparation(customers, FEATURES, group_column="REGION", min_group_size=3)
    customers.loc[[0, 7], "BALANCE"] = np.nan
    customers.loc[1, "REGION"] = None
    clusters = np.where(customers["BALANCE"].isna(), UNASSIGNED, 0)
    with assigned_parts([customers[:4], customers[4:]], [clusters[:4], clusters[4:]]) as parts:
        statistics = collect_statistics(parts, preparation, 1)
    assert statistics.reasons == {"no value for BALANCE": 2}
    assert statistics.groups == (1, 0)
    assert statistics.sizes.tolist() == [8]


def test_all_customers_are_taken_if_there_are_no_more_than_the_maximum():
    with assigned_parts([MANY[:7], MANY[7:20]], [CLUSTERS[:7], CLUSTERS[7:20]]) as parts:
        sample = draw_sample(parts, 3, max_customers=20)
    assert sample.weight is None
    assert sample.columns["x"].tolist() == MANY["x"][:20].tolist()
    assert sample.cluster.tolist() == CLUSTERS[:20].tolist()


def test_above_the_maximum_small_clusters_are_complete_and_weights_make_up_for_it():
    with assigned_parts([MANY], [CLUSTERS]) as parts:
        sample = draw_sample(parts, 3, max_customers=4000)
    assert np.bincount(sample.cluster + 1).tolist() == [(CLUSTERS == -1).sum(), 1000, 1000, (CLUSTERS == 2).sum()]
    assert sample.weight.sum() == pytest.approx(20_000)
    assert set(sample.weight[sample.cluster == 2]) == {1.0}


def test_the_sample_does_not_depend_on_the_parts():
    with assigned_parts([MANY], [CLUSTERS]) as parts:
        whole = draw_sample(parts, 3, max_customers=4000)
    cuts = [1, 5000, 5000, 19_000]
    with assigned_parts(
        [MANY[:1], MANY[1:5000], MANY[:0], MANY[5000:19_000], MANY[19_000:]], np.split(CLUSTERS, cuts)
    ) as parts:
        pd.testing.assert_frame_equal(draw_sample(parts, 3, max_customers=4000).columns, whole.columns)


def test_the_error_of_sampled_medians_is_the_documented_one():
    with assigned_parts([MANY], [CLUSTERS]) as parts:
        sample = draw_sample(parts, 3, max_customers=4000)
    for cluster in (0, 1):
        median = np.median(sample.columns["x"][sample.cluster == cluster])
        assert abs((MANY["x"][cluster == CLUSTERS] <= median).mean() - 0.5) < 2 * 0.98 / np.sqrt(1000)
    decile = quantiles(sample.columns["x"].to_numpy(), np.array([0.1]), sample.weight)
    assert abs((MANY["x"] <= decile[0]).mean() - 0.1) < 2 * 0.98 / np.sqrt(1000)
