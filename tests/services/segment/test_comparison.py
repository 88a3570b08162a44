import numpy as np
import pandas as pd
import pytest

from services.contract.results import Comparison, Segment
from services.segment.comparison import compare, find_deciles, find_warnings, make_migration, population_stability_index
from services.segment.segments_csv import NO_SEGMENT, NOT_IN_TABLE, Members

# today's six customers: two who stay, one who moves, one who had no segment, one who is new, one who lost hers
THEN = np.array([1, 2, 2, NO_SEGMENT, NOT_IN_TABLE, 1])
NOW = np.array([1, 2, 3, 3, 3, NO_SEGMENT])
MEMBERS = Members(THEN, {2: 4, NO_SEGMENT: 1})
BEFORE, AFTER = {1: "one", 2: "=two"}, {1: "one", 2: "=two", 3: "three"}


def comparison(**values) -> Comparison:
    usual = {"run": "old", "common_customers": 100, "same_segment": 99, "ari": 0.95, "psi": {}, "vanished": {}}
    return Comparison(**{**usual, **values})


def shares(values) -> dict:
    return find_deciles(pd.DataFrame({"x": values}))["x"]


def test_customers_with_a_segment_in_both_runs_are_compared():
    found = compare("old", MEMBERS, NOW, BEFORE, list(AFTER), {"BALANCE": 0.1})
    assert (found.run, found.common_customers, found.same_segment, found.vanished) == ("old", 3, 2, {})
    assert found.psi == {"BALANCE": 0.1}


def test_the_rand_index_is_1_for_the_same_groups_whatever_their_ids():
    groups = np.repeat([1, 2, 3], 10)
    assert compare("old", Members(groups, {}), groups + 5, {}, [], {}).ari == 1
    shuffled = np.random.default_rng(0).permutation(groups)
    assert abs(compare("old", Members(groups, {}), shuffled, {}, [], {}).ari) < 0.2


def test_without_common_customers_there_is_no_agreement():
    found = compare("old", Members(np.full(6, NOT_IN_TABLE), {}), NOW, BEFORE, [3], {})
    assert (found.common_customers, found.ari) == (0, 0)
    assert found.vanished == BEFORE


def test_the_migration_counts_every_customer_of_either_run_once():
    moves = make_migration(MEMBERS, NOW, BEFORE, AFTER)
    assert moves.to_numpy().tolist() == [
        ["1", "one", "1", "one", 1],
        ["1", "one", "", "(no segment)", 1],
        ["2", "'=two", "2", "'=two", 1],
        ["2", "'=two", "3", "three", 1],
        ["2", "'=two", "", "(no segment)", 4],
        ["", "(no segment)", "3", "three", 2],
        ["", "(no segment)", "", "(no segment)", 1],
    ]
    assert moves["customers"].sum() == len(NOW) + 5


def test_the_stability_index_is_0_for_the_same_distribution():
    values = np.random.default_rng(0).lognormal(size=5000)
    assert population_stability_index(shares(values), pd.Series(values)) == 0
    assert population_stability_index(shares(values), pd.Series(np.random.default_rng(1).lognormal(size=5000))) < 0.01


def test_the_stability_index_is_what_the_formula_gives():
    then = shares(np.arange(1.0, 11.0))  # ten values, one in each bin
    now = pd.Series([1.0] * 5 + [10.0] * 5)
    expected = 2 * (0.5 - 0.1) * np.log(5) + 8 * (0.1 - 1e-4) * np.log(1000)
    assert population_stability_index(then, now) == pytest.approx(expected)


def test_the_stability_index_sees_what_happens_to_zeros_and_to_missing_values():
    half = np.where(np.arange(1000) < 500, 0.0, np.arange(1000.0))
    assert population_stability_index(shares(half), pd.Series(np.where(np.arange(1000) < 900, 0.0, 999.0))) > 0.25
    assert population_stability_index(shares(half), pd.Series(np.where(np.arange(1000) % 5 == 0, np.nan, half))) > 0.25


def test_a_feature_without_values_has_no_deciles():
    empty = shares([np.nan, np.nan])
    assert (empty.edges, empty.shares) == ((), (0.0, 1.0))
    assert population_stability_index(empty, pd.Series([1.0, 2.0])) > 0.25


def test_what_stays_below_every_threshold_gives_no_warning():
    assert list(find_warnings(comparison(psi={"BALANCE": 0.09}), [])) == []


def test_warnings_name_what_passes_a_threshold():
    new = Segment(
        segment_id=4,
        name="new",
        customers=1,
        share=1,
        centroid={},
        sets_apart=(),
        jaccard=1,
        is_new=True,
        previous_customers=None,
    )
    found = comparison(ari=0.79, same_segment=60, psi={"BALANCE": 0.1, "PURCHASES": 0.25}, vanished={2: "gone"})
    assert list(find_warnings(found, [new])) == [
        "segment 2 (gone) has vanished since run old",
        "segment 4 (new) is new since run old",
        "the segments agree little with those of run old: adjusted Rand index 0.79, below 0.8; 40 of 100 customers moved",
        "BALANCE has shifted moderately since run old: stability index 0.10, from 0.1",
        "PURCHASES has shifted strongly since run old: stability index 0.25, from 0.25",
    ]
