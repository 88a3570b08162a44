from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from services.contract.results import Comparison, Segment
from services.contract.segment_registry import Deciles
from services.segment.assignment import UNASSIGNED
from services.segment.comparison import (
    adjusted_rand_index,
    compare,
    count_moves,
    find_warnings,
    make_migration,
    population_stability_index,
)
from services.segment.customer_statistics import MAX_EXACT_CUSTOMERS, draw_sample, find_edges, find_shares
from services.segment.membership import NO_SEGMENT, NOT_IN_TABLE, PreviousMembership
from tests.services.segment.runs import assigned_parts

# Six current customers: two stay, one moves, one had no segment, one is new, one no longer has a segment.
MEMBERSHIP = PreviousMembership(np.array([1, 2, 2, NO_SEGMENT, NOT_IN_TABLE, 1], dtype=np.int32), {1: 2, 2: 6, NO_SEGMENT: 2})
CLUSTER = [0, 1, 2, 2, 2, UNASSIGNED]
PREVIOUS_NAMES, NAMES = {1: "one", 2: "=two"}, {1: "one", 2: "=two", 3: "three"}


def moves(cut: int = 6) -> Counter[tuple[int, int]]:
    customers = pd.DataFrame({"x": np.arange(6.0)})
    with assigned_parts([customers[:cut], customers[cut:]], [CLUSTER[:cut], CLUSTER[cut:]]) as parts:
        return count_moves(parts, MEMBERSHIP, list(NAMES))


def comparison(**values) -> Comparison:
    usual = {"run": "old", "common_customers": 100, "same_segment": 99, "ari": 0.95, "psi": {}, "vanished": {}}
    return Comparison(**{**usual, **values})


def psi(previous: np.ndarray, current: np.ndarray, max_exact: int = MAX_EXACT_CUSTOMERS) -> float:
    """Drift of a feature from one table to another."""
    frames = [pd.DataFrame({"x": np.asarray(values, dtype=float)}) for values in (previous, current)]
    with assigned_parts([frames[0]], [np.zeros(len(previous))]) as parts:
        edges = find_edges(draw_sample(parts, 1, max_exact), ["x"])
        shares = find_shares(parts, edges, len(previous))["x"]
        deciles = Deciles(edges=tuple(edges["x"]), shares=tuple(shares))
    with assigned_parts([frames[1]], [np.zeros(len(current))]) as parts:
        return population_stability_index(deciles, find_shares(parts, {"x": np.array(deciles.edges)}, len(current))["x"])


@pytest.mark.parametrize("cut", [6, 2])
def test_customers_with_a_segment_in_both_runs_are_compared(cut):
    found = compare("old", moves(cut), PREVIOUS_NAMES, list(NAMES), {"BALANCE": 0.1})
    assert (found.run, found.common_customers, found.same_segment, found.vanished) == ("old", 3, 2, {})
    assert found.psi == {"BALANCE": 0.1}


def test_the_rand_index_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    previous, current = rng.integers(1, 4, 200), rng.integers(1, 6, 200)
    current[:120] = previous[:120]
    expected = adjusted_rand_score(previous, current)
    assert adjusted_rand_index(Counter(zip(previous.tolist(), current.tolist(), strict=True))) == pytest.approx(expected)
    assert adjusted_rand_index(Counter({(1, 6): 10, (2, 7): 10})) == 1
    assert adjusted_rand_index(Counter({(1, 1): 10})) == 1


def test_without_common_customers_there_is_no_agreement():
    found = compare("old", Counter({(NOT_IN_TABLE, 3): 6}), PREVIOUS_NAMES, [3], {})
    assert (found.common_customers, found.ari) == (0, 0)
    assert found.vanished == PREVIOUS_NAMES


def test_the_migration_counts_every_customer_of_either_run_once():
    migration = make_migration(moves(), MEMBERSHIP.departed, PREVIOUS_NAMES, NAMES)
    assert migration.to_numpy().tolist() == [
        ["1", "one", "1", "one", 1],
        ["1", "one", "", "(no segment)", 1],
        ["2", "'=two", "2", "'=two", 1],
        ["2", "'=two", "3", "three", 1],
        ["2", "'=two", "", "(no segment)", 4],
        ["", "(no segment)", "3", "three", 2],
        ["", "(no segment)", "", "(no segment)", 1],
    ]
    assert migration["customers"].sum() == 6 + 5


@pytest.mark.parametrize("max_exact", [MAX_EXACT_CUSTOMERS, 1000])
def test_the_stability_index_is_0_for_the_same_distribution(max_exact):
    values = np.random.default_rng(0).lognormal(size=5000)
    assert psi(values, values, max_exact) == 0
    assert psi(values, np.random.default_rng(1).lognormal(size=5000), max_exact) < 0.01


def test_the_stability_index_is_what_the_formula_gives():
    expected = 2 * (0.5 - 0.1) * np.log(5) + 8 * (0.1 - 1e-4) * np.log(1000)
    assert psi(np.arange(1.0, 11.0), [1.0] * 5 + [10.0] * 5) == pytest.approx(expected)  # ten values, one in each bin


def test_the_stability_index_sees_what_happens_to_zeros_and_to_missing_values():
    half = np.where(np.arange(1000) < 500, 0.0, np.arange(1000.0))
    assert psi(half, np.where(np.arange(1000) < 900, 0.0, 999.0)) > 0.25
    assert psi(half, np.where(np.arange(1000) % 5 == 0, np.nan, half)) > 0.25


def test_a_feature_without_values_has_no_deciles():
    assert psi([np.nan, np.nan], [1.0, 2.0]) > 0.25


def test_what_stays_below_every_threshold_gives_no_warning():
    assert list(find_warnings(comparison(psi={"BALANCE": 0.09}), [])) == []


def test_warnings_name_what_passes_a_threshold():
    new = Segment(
        segment_id=4,
        name="new",
        customers=1,
        share=1,
        centroid={},
        distinguishing_features=(),
        jaccard=1,
        is_new=True,
        previous_customers=None,
    )
    found = comparison(ari=0.79, same_segment=60, psi={"BALANCE": 0.1, "PURCHASES": 0.25}, vanished={2: "gone"})
    assert list(find_warnings(found, [new])) == [
        "segment 2 (gone) has vanished since run old",
        "segment 4 (new) is new since run old",
        "low agreement with run old: adjusted Rand index 0.79 (threshold 0.8); 40 of 100 customers changed segment",
        "BALANCE: moderate drift since run old (PSI 0.10, threshold 0.1)",
        "PURCHASES: strong drift since run old (PSI 0.25, threshold 0.25)",
    ]
