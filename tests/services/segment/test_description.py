"""The description of segments by all columns, and their shares of the totals of amounts."""

import numpy as np
import pandas as pd
import pytest

from services.contract.results import DESCRIPTION_COLUMNS
from services.segment.description import describe, share_totals, why_no_amount


def described(columns, segment_ids, all_ids=None, features=()):
    table = describe(pd.DataFrame(columns), np.array(segment_ids), all_ids or set(segment_ids), features)
    assert list(table) == list(DESCRIPTION_COLUMNS)
    return table


def row(table, segment_id, column, level=""):
    [found] = table[(table.segment_id == segment_id) & (table.column == column) & (table.level == level)].to_dict("records")
    return found


def test_a_number_is_described_by_quartiles_missing_share_and_difference_from_all_others():
    values = [1.0, 2.0, 3.0, np.nan, 10.0, 20.0]
    found = row(described({"A": values}, [1, 1, 1, 1, 2, 3], features=["A"]), 1, "A")
    assert (found["customers"], found["missing_share"], found["is_feature"]) == (3, 0.25, "yes")
    assert (found["q1"], found["median"], found["q3"]) == (1.5, 2.0, 2.5)
    assert found["difference"] == pytest.approx((2 - 15) / np.std([1, 2, 3, 10, 20]), abs=1e-6)
    assert np.isnan(found["share"])


def test_a_category_is_described_by_the_share_of_each_level():
    table = described({"R": pd.Series(["n", "n", "s", None, "s", "s"], dtype="str")}, [1, 1, 1, 1, 2, 2])
    found = row(table, 1, "R", "n")
    assert (found["customers"], found["missing_share"], found["share"]) == (3, 0.25, pytest.approx(2 / 3, abs=1e-6))
    assert found["difference"] == pytest.approx((2 / 3 - 0) / np.sqrt(0.4 * 0.6), abs=1e-6)
    assert row(table, 2, "R", "s")["difference"] == found["difference"]
    assert np.isnan(found["median"])


def test_a_level_counts_like_a_column_of_zeros_and_ones():
    is_north = np.random.default_rng(0).random(100) < 0.3
    table = described({"R": pd.Series(np.where(is_north, "n", "s"), dtype="str"), "N": is_north * 1.0}, [1] * 30 + [2] * 70)
    assert row(table, 1, "R", "n")["difference"] == row(table, 1, "N")["difference"] != 0


def test_the_order_is_that_of_cohens_d():
    rng = np.random.default_rng(0)
    is_member = np.arange(400) < 40
    columns = {f"C{number}": rng.normal(size=400) + is_member * rng.normal() for number in range(12)}
    table = described(columns, np.where(is_member, 1, 2)).query("segment_id == 1")

    def cohens_d(values):
        pooled = (40 * values[is_member].var() + 360 * values[~is_member].var()) / 400
        return abs(values[is_member].mean() - values[~is_member].mean()) / np.sqrt(pooled)

    assert table.column.tolist() == sorted(columns, key=lambda name: -cohens_d(columns[name]))
    assert table["rank"].tolist() == list(range(1, 13))


def test_a_planted_difference_comes_first_in_its_segment_and_noise_last():
    rng = np.random.default_rng(0)
    ids = np.repeat([1, 2, 3], 200)
    table = described({"NOISE": rng.normal(size=600), "AGE": rng.normal(size=600) + 3 * (ids == 2)}, ids)
    assert table[table["rank"] == 1].column.tolist()[1] == "AGE"


def test_constant_and_empty_columns_are_described_and_differ_in_nothing():
    table = described({"EMPTY": [np.nan] * 4, "CONSTANT": [0.1] * 4, "A": [1.0, 2.0, 3.0, 4.0]}, [1, 1, 2, 2])
    assert table[table.segment_id == 1].column.tolist() == ["A", "CONSTANT", "EMPTY"]
    assert row(table, 1, "CONSTANT")["difference"] == 0
    empty = row(table, 1, "EMPTY")
    assert (empty["customers"], empty["missing_share"]) == (0, 1.0)
    assert np.isnan([empty["median"], empty["difference"]]).all()


def test_very_large_values_do_not_overflow():
    table = described({"A": [1e300, 1e300, -1e300, -1e300]}, [1, 1, 2, 2])
    assert row(table, 1, "A")["difference"] == 2.0


def test_a_segment_without_customers_in_the_sample_has_empty_figures():
    table = described({"A": [1.0, 2.0], "R": pd.Series(["x", "y"], dtype="str")}, [1, 2], all_ids=[1, 2, 5])
    assert table[table.segment_id == 5][["customers", "rank"]].to_numpy().tolist() == [[0, 1], [0, 2], [0, 3]]
    assert table[table.segment_id == 5][["missing_share", "share", "median", "difference"]].isna().all(axis=None)


def test_names_and_levels_that_a_spreadsheet_would_run_are_escaped_and_html_stays_text():
    table = described({"=A": [1.0, 2.0], "<i>": pd.Series(["=1+1", "<script>"], dtype="str")}, [1, 2])
    assert set(table.column) == {"'=A", "<i>"}
    assert set(table.level) == {"", "'=1+1", "<script>"}


def test_a_hundred_segments_and_two_hundred_columns_are_described():
    values = np.random.default_rng(0).normal(size=(2000, 200))
    table = described({f"C{number}": column for number, column in enumerate(values.T)}, np.arange(2000) % 100 + 1)
    assert len(table) == 100 * 200


def test_an_empty_sample_gives_empty_figures():
    assert described({"A": np.empty(0)}, [], all_ids=[1, 2])["customers"].tolist() == [0, 0]


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
