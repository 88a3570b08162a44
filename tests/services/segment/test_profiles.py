import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.contract.preparation import Preparation
from services.contract.results import PROFILE_COLUMNS
from services.segment.customer_statistics import collect_statistics, draw_sample
from services.segment.profiles import FeatureProfile, Profile, has_index, make_profiles, profile_table
from tests.services.segment.runs import assigned_parts

CUSTOMERS = pd.DataFrame({"BALANCE": [10.0, 20.0, 30.0, 100.0, 240.0, np.nan], "CREDIT_LIMIT": [1.0, 1.0, 1.0, 1.0, 1.0, 1e9]})
CLUSTER = np.array([0, 0, 0, 1, 1, -1])


def profiles_of(features: pd.DataFrame, cluster: np.ndarray, n_clusters: int, shape=None, cuts=()) -> list[Profile]:
    """Make profiles of clusters that were found in the standardised space of `shape`."""
    names = tuple(features.columns)
    pipeline = Pipeline([("shape", FunctionTransformer(shape)), ("scale", StandardScaler())])
    pipeline.fit(features[cluster >= 0].to_numpy())
    preparation = Preparation(names, (), {}, False, {}, pipeline, None, {})
    rows = np.split(np.arange(len(features)), cuts)
    with assigned_parts([features.iloc[one] for one in rows], [cluster[one] for one in rows]) as parts:
        return make_profiles(collect_statistics(parts, preparation, n_clusters), draw_sample(parts, n_clusters), names)


def test_a_profile_is_in_the_units_of_the_table_and_leaves_out_customers_without_a_segment():
    small, large = profiles_of(CUSTOMERS, CLUSTER, 2)
    assert (small.n_customers, large.n_customers) == (3, 2)
    assert small.centroid == {"BALANCE": 20, "CREDIT_LIMIT": 1}
    assert (large.features[0].median, large.features[0].mean) == (170, 170)


def test_the_index_is_100_for_the_mean_of_all_customers_with_a_segment():
    small, large = profiles_of(CUSTOMERS, CLUSTER, 2)
    assert small.features[0].index == 25
    assert large.features[0].index == 212.5
    assert (3 * small.features[0].index + 2 * large.features[0].index) / 5 == 100


@pytest.mark.parametrize(
    ("values", "has_one"),
    [
        ([0, 0, 0, 0, 7], True),  # a count, 0 for most
        ([600, 1600, 3000, 6500, 30000], True),  # an amount
        ([0.1, 0.5, 0.9, 1.0, 1.0], True),  # a share of months
        ([1950, 1970, 1985, 2000, 2000], False),  # a year
        ([640, 690, 720, 760, 800], False),  # a score
        ([1950, 1970, 1985, 2000, 5e8], False),  # a year, and a mistake
        ([-0.01, 10, 1000, 2000, 3000], False),  # a balance that can be negative
        ([-5, 5, -5, 5], False),
        ([12, 12, 12, 12, 6], False),  # nearly all are as far from zero
        ([0, 0], False),
    ],
)
def test_a_feature_has_an_index_if_its_zero_means_none(values, has_one):
    array = np.array(values, dtype=float)
    assert has_index(array.min(), array.max(), np.quantile(array, (0.25, 0.75))) is has_one


def test_a_feature_without_an_index_is_described():
    profiles = profiles_of(pd.DataFrame({"BALANCE": [-5.0, 5.0, -5.0, 5.0]}), np.array([0, 1, 0, 1]), 2)
    assert [np.isnan(profile.features[0].index) for profile in profiles] == [True, True]
    assert [profile.distinguishing_features for profile in profiles] == [("low balance",), ("high balance",)]


def test_years_and_scores_have_levels():
    born = pd.DataFrame({"YEAR": [1950.0, 1950.0, 1970.0, 1970.0, 1985.0, 1985.0, 2000.0, 2000.0]})
    profiles = profiles_of(born, np.array([0, 0, 1, 1, 2, 2, 3, 3]), 4)
    assert [profile.features[0].level for profile in profiles] == ["very low", "low", "high", "very high"]
    scores = pd.DataFrame({"SCORE": [640.0, 640.0, 720.0, 720.0, 800.0, 800.0]})
    profiles = profiles_of(scores, np.array([0, 0, 1, 1, 2, 2]), 3)
    assert [profile.features[0].level for profile in profiles] == ["very low", "average", "very high"]


def test_one_outlier_changes_no_level_of_a_feature_whose_logarithm_was_clustered():
    spent = pd.DataFrame({"SPENT": np.tile([10.0, 10.0, 100.0, 1000.0], 100)})
    with_outlier = spent.copy()
    with_outlier.loc[399, "SPENT"] = 5e8
    for table in (spent, with_outlier):
        profiles = profiles_of(table, np.tile([0, 0, 1, 2], 100), 3, np.log1p)
        assert [profile.features[0].level for profile in profiles] == ["low", "high", "very high"]


@pytest.mark.parametrize(
    ("effect", "level"),
    [
        (1.2, "very high"),
        (1.19, "high"),
        (0.2, "high"),
        (0.19, "average"),
        (-0.19, "average"),
        (-0.2, "low"),
        (-1.2, "very low"),
        (np.nan, "average"),
    ],
)
@pytest.mark.parametrize("index", [20, 500, np.nan])
def test_levels_follow_the_effect(index, effect, level):
    assert FeatureProfile("X", 0, 0, index, effect).level == level


def test_the_table_has_a_row_for_each_segment_and_feature_by_id_and_rank():
    rows = profile_table(profiles_of(CUSTOMERS, CLUSTER, 2), [7, 3], ["=small", "large"])
    assert tuple(rows.columns) == PROFILE_COLUMNS
    assert rows["segment_id"].tolist() == [3, 3, 7, 7]
    assert rows["feature_rank"].tolist() == [1, 2, 1, 2]
    assert rows["segment_name"].tolist() == ["large", "large", "'=small", "'=small"]
    assert rows["share"].tolist() == [0.4, 0.4, 0.6, 0.6]
