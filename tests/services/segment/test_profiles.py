import numpy as np
import pandas as pd
import pytest

from services.contract.results import PROFILE_COLUMNS
from services.segment.profiles import Trait, make_profiles, make_table

CUSTOMERS = pd.DataFrame({"BALANCE": [10.0, 20.0, 30.0, 100.0, 240.0, 1e9], "CREDIT_LIMIT": [1.0, 1.0, 1.0, 1.0, 1.0, 1e9]})
CLUSTER = np.array([0, 0, 0, 1, 1, -1])


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


def test_where_the_mean_of_all_is_not_above_0_there_is_no_index():
    profiles = make_profiles(pd.DataFrame({"BALANCE": [-5.0, 5.0, -5.0, 5.0]}), np.array([0, 1, 0, 1]), 2)
    assert [np.isnan(profile.traits[0].index) for profile in profiles] == [True, True]
    assert [profile.sets_apart for profile in profiles] == [("low balance",), ("high balance",)]


def test_features_are_ranked_by_how_many_standard_deviations_they_are_off():
    frame = pd.DataFrame({"A": [1.0, 2.0, 1.0, 2.0], "B": [10.0, 10.0, 0.0, 0.0], "C": [5.0, 5.0, 5.0, 5.0]})
    first, _ = make_profiles(frame, np.array([0, 0, 1, 1]), 2)
    assert [trait.feature for trait in first.traits] == ["B", "A", "C"]
    assert first.sets_apart == ("high b (index 200)",)


def test_a_cluster_without_customers_has_an_empty_profile():
    empty = make_profiles(CUSTOMERS, CLUSTER, 3)[2]
    assert (empty.customers, empty.centroid, empty.sets_apart) == (0, {}, ())


@pytest.mark.parametrize(
    ("index", "effect", "level"),
    [
        (300, 1, "very high"),
        (130, 1, "high"),
        (129, 1, "average"),
        (78, -1, "average"),
        (77, -1, "low"),
        (33, -1, "very low"),
        (500, 0.05, "average"),
        (np.nan, 2.0, "very high"),
        (np.nan, -0.6, "low"),
        (np.nan, 0.4, "average"),
        (np.nan, np.nan, "average"),
    ],
)
def test_levels_follow_the_index(index, effect, level):
    assert Trait("X", 0, 0, index, effect).level == level


def test_the_table_has_a_row_for_each_segment_and_feature_by_id_and_rank():
    rows = make_table(make_profiles(CUSTOMERS, CLUSTER, 2), [7, 3], ["=small", "large"])
    assert tuple(rows.columns) == PROFILE_COLUMNS
    assert rows["segment_id"].tolist() == [3, 3, 7, 7]
    assert rows["sets_apart"].tolist() == [1, 2, 1, 2]
    assert rows["segment_name"].tolist() == ["large", "large", "'=small", "'=small"]
    assert rows["share"].tolist() == [0.4, 0.4, 0.6, 0.6]
