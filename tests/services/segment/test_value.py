"""The segments' shares of the totals of amounts."""

import numpy as np
import pandas as pd
import pytest

from services.segment.value import share_totals, why_no_amount

AMOUNTS = [0.0, 10.0, 20.0, 30.0, 60.0, 80.0]


def test_each_segment_has_its_share_of_the_total_and_missing_values_count_as_nothing():
    [found], _ = share_totals(pd.DataFrame({"A": [*AMOUNTS, np.nan]}), np.array([1, 1, 1, 4, 4, 4, 4]), {1: 3, 4: 4})
    assert (found.column, found.total, found.shares) == ("A", 200.0, {1: 0.15, 4: 0.85})


def test_a_sample_is_weighted_by_the_sizes_of_the_segments():
    values = np.random.default_rng(0).exponential(100, 20_000)
    ids = np.repeat([1, 2], [2000, 18_000])
    rows = np.concatenate([np.arange(0, 2000, 2), np.arange(2000, 20_000, 20)])  # half of one segment, a twentieth of the other
    [exact], _ = share_totals(pd.DataFrame({"A": values}), ids, {1: 2000, 2: 18_000})
    [estimate], _ = share_totals(pd.DataFrame({"A": values[rows]}), ids[rows], {1: 2000, 2: 18_000})
    assert estimate.total == pytest.approx(exact.total, rel=0.1)
    assert estimate.shares[1] == pytest.approx(exact.shares[1], abs=0.01)


def test_a_segment_without_customers_in_the_sample_has_no_share():
    [found], _ = share_totals(pd.DataFrame({"A": AMOUNTS}), np.full(6, 1), {1: 6, 2: 1})
    assert found.shares == {1: 1.0, 2: 0.0}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "has no values"),
        ([-1.0, 5.0, 100.0], "has negative values"),
        ([0.0, 0.5, 1.0], "has no value above 1"),
        ([0.0, 0.0], "has no value above 1"),
        ([1970.0, 1980.0, 2000.0], "has no meaningful zero"),
        ([0.0, 1.0, 1e300], "has values too large"),
        (AMOUNTS, ""),
        ([0.0] * 9 + [5.0], ""),
    ],
)
def test_a_column_is_an_amount_only_if_a_sum_means_something(values, reason):
    found = why_no_amount(np.array(values))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_other_columns_are_named_with_the_reason_and_texts_are_not():
    table = pd.DataFrame({"YEAR": [1970.0, 1980.0], "R": pd.Series(["x", "y"], dtype="str"), "EMPTY": [np.nan, np.nan]})
    values, not_amounts = share_totals(table, np.array([1, 2]), {1: 1, 2: 1})
    assert values == ()
    assert {name: reason.split(":")[0] for name, reason in not_amounts.items()} == {
        "YEAR": "has no meaningful zero",
        "EMPTY": "has no values",
    }
