import numpy as np
import pandas as pd
import pytest

from services.contract.results import PROFILE_COLUMNS
from services.segment.assignment import NOBODY
from services.segment.profiles import Profile, Trait, find_effects, has_index, profile_table
from services.segment.profiles import make_profiles as make_profiles_with_effects

CUSTOMERS = pd.DataFrame({"BALANCE": [10.0, 20.0, 30.0, 100.0, 240.0, 1e9], "CREDIT_LIMIT": [1.0, 1.0, 1.0, 1.0, 1.0, 1e9]})
CLUSTER = np.array([0, 0, 0, 1, 1, -1])


def make_profiles(features: pd.DataFrame, cluster: np.ndarray, n_clusters: int, shape=lambda values: values) -> list[Profile]:
    """Make profiles of clusters that were found in the space of `shape`."""
    assigned = cluster != NOBODY
    effects = find_effects(shape(features[assigned].to_numpy()), cluster[assigned], n_clusters)
    return make_profiles_with_effects(features, cluster, effects)


def test_a_profile_is_in_the_units_of_the_table_and_knows_nobody_without_a_segment():
    small, large = make_profiles(CUSTOMERS, CLUSTER, 2)
    assert (small.customers, large.customers) == (3, 2)
    assert small.centroid == {"BALANCE": 20, "CREDIT_LIMIT": 1}
    assert (large.traits[0].median, large.traits[0].mean) == (170, 170)


def test_the_index_is_100_for_the_mean_of_all_who_have_a_segment():
    small, large = make_profiles(CUSTOMERS, CLUSTER, 2)
    assert small.traits[0].index == 25
    assert large.traits[0].index == 212.5
    assert (3 * small.traits[0].index + 2 * large.traits[0].index) / 5 == 100


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
        ([12, 12, 12, 12, 6], False),  # nearly everybody is as far from zero
        ([0, 0], False),
        ([], False),
    ],
)
def test_a_feature_has_an_index_if_its_zero_means_none(values, has_one):
    assert has_index(np.array(values, dtype=float)) is has_one


def test_a_feature_without_an_index_is_described_all_the_same():
    profiles = make_profiles(pd.DataFrame({"BALANCE": [-5.0, 5.0, -5.0, 5.0]}), np.array([0, 1, 0, 1]), 2)
    assert [np.isnan(profile.traits[0].index) for profile in profiles] == [True, True]
    assert [profile.sets_apart for profile in profiles] == [("low balance",), ("high balance",)]


def test_years_and_scores_have_levels():
    born = pd.DataFrame({"YEAR": [1950.0, 1950.0, 1970.0, 1970.0, 1985.0, 1985.0, 2000.0, 2000.0]})
    profiles = make_profiles(born, np.array([0, 0, 1, 1, 2, 2, 3, 3]), 4)
    assert [profile.traits[0].level for profile in profiles] == ["very low", "low", "high", "very high"]
    scores = pd.DataFrame({"SCORE": [640.0, 640.0, 720.0, 720.0, 800.0, 800.0]})
    profiles = make_profiles(scores, np.array([0, 0, 1, 1, 2, 2]), 3)
    assert [profile.traits[0].level for profile in profiles] == ["very low", "average", "very high"]


def test_one_outlier_changes_no_level_of_a_feature_whose_logarithm_was_clustered():
    spent = pd.DataFrame({"SPENT": np.tile([10.0, 10.0, 100.0, 1000.0], 100)})
    with_outlier = spent.copy()
    with_outlier.loc[399, "SPENT"] = 5e8
    for table in (spent, with_outlier):
        profiles = make_profiles(table, np.tile([0, 0, 1, 2], 100), 3, np.log1p)
        assert [profile.traits[0].level for profile in profiles] == ["low", "high", "very high"]


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
    assert Trait("X", 0, 0, index, effect).level == level


def test_the_table_has_a_row_for_each_segment_and_feature_by_id_and_rank():
    rows = profile_table(make_profiles(CUSTOMERS, CLUSTER, 2), [7, 3], ["=small", "large"])
    assert tuple(rows.columns) == PROFILE_COLUMNS
    assert rows["segment_id"].tolist() == [3, 3, 7, 7]
    assert rows["sets_apart"].tolist() == [1, 2, 1, 2]
    assert rows["segment_name"].tolist() == ["large", "large", "'=small", "'=small"]
    assert rows["share"].tolist() == [0.4, 0.4, 0.6, 0.6]
