"""A rule per segment: conditions in the table's units, with the accuracy of the conditions as written."""

import numpy as np
import pandas as pd
import pytest

from services.contract.results import Condition
from services.segment.rules import find_rules, format_threshold, round_threshold, to_text

RNG = np.random.default_rng(0)
BLOCKS = pd.DataFrame({"LIMIT": RNG.uniform(0, 10_000, 4000), "BALANCE": RNG.uniform(0, 5000, 4000)})
BLOCK_IDS = np.where(BLOCKS["LIMIT"] <= 7_512, 1, np.where(BLOCKS["BALANCE"] <= 1_903, 2, 5))


def meets(features, rule):
    kept = features
    for condition in rule.conditions:
        values = kept[condition.column]
        kept = kept[values > condition.value if condition.operator == ">" else values <= condition.value]
    return kept.index


def test_segments_that_follow_from_thresholds_are_found_with_round_numbers():
    rules = find_rules(BLOCKS, BLOCK_IDS, [1, 2, 5])
    assert rules.accuracy > 0.99
    assert [one.rules[0].text for one in rules.segments] == [
        "LIMIT at most 7,500",
        "LIMIT above 7,500 and BALANCE at most 1,900",
        "LIMIT above 7,500 and BALANCE above 1,900",
    ]
    assert (rules.customers_fitted, rules.customers_evaluated) == (2000, 2000)


def test_the_tree_has_at_most_twice_as_many_leaves_as_segments():
    features = pd.DataFrame(RNG.normal(size=(3000, 3)), columns=list("ABC"))
    ids = (np.hypot(features["A"], features["B"]) // 0.5).astype(int).clip(0, 4).to_numpy() + 1
    rules = find_rules(features, ids, range(1, 6))
    assert 5 <= rules.leaves <= 10
    assert sum(len(one.rules) for one in rules.segments) == rules.leaves


def test_the_accuracy_is_that_of_the_written_conditions_on_customers_not_fitted():
    rules = find_rules(BLOCKS, BLOCK_IDS, [1, 2, 5])
    evaluated = np.random.default_rng(7).permutation(4000)[2000:]
    features, actual = BLOCKS.iloc[evaluated], pd.Series(BLOCK_IDS[evaluated], index=evaluated)
    n_right = 0
    for segment in rules.segments:
        matching = [row for rule in segment.rules for row in meets(features, rule)]
        hits = int((actual[matching] == segment.segment_id).sum())
        n_right += hits
        assert segment.precision == pytest.approx(hits / len(matching), abs=1e-6)
        assert segment.recall == pytest.approx(hits / (actual == segment.segment_id).sum(), abs=1e-6)
        assert sum(rule.share_of_segment for rule in segment.rules) == pytest.approx(segment.recall, abs=1e-5)
    assert rules.accuracy == n_right / 2000


def test_every_customer_meets_the_rules_of_exactly_one_segment():
    rules = find_rules(BLOCKS, BLOCK_IDS, [1, 2, 5])
    rows = [row for segment in rules.segments for rule in segment.rules for row in meets(BLOCKS, rule)]
    assert sorted(rows) == list(range(4000))


def test_a_segment_without_a_leaf_has_the_reason_in_place_of_rules():
    ids = BLOCK_IDS.copy()
    ids[::400] = 9  # ten customers, scattered
    *_, scattered, absent = find_rules(BLOCKS, ids, [1, 2, 5, 9, 11]).segments
    assert (scattered.segment_id, scattered.rules, scattered.precision, scattered.recall) == (9, (), None, 0.0)
    assert (absent.segment_id, absent.rules, absent.precision, absent.recall) == (11, (), None, None)
    assert scattered.reason == absent.reason != ""


def test_neighbouring_leaves_of_one_segment_are_one_rule():
    rules = find_rules(pd.DataFrame({"A": np.arange(1000.0)}), np.where(np.arange(1000) < 500, 1, 2), [1, 2])
    assert (rules.leaves, [len(one.rules) for one in rules.segments]) == (2, [1, 1])


@pytest.mark.parametrize(
    ("threshold", "values", "expected"),
    [
        (7512.3, np.linspace(0, 10_000, 5000), 7500),
        (0.5, np.repeat([0.0, 1.0, 7.0], 100), 0),  # counts: none, or at least one
        (2015.5, np.repeat([2014.0, 2015.0, 2016.0, 2017.0], 100), 2015),  # years are not rounded to 2,000
        (-1.2345, np.linspace(-5, 5, 1000), -1.2),
        (0.0, np.array([-1.0, 1.0]), 0),
        (0.0371, np.linspace(0, 0.1, 1000), 0.037),
        (1234567.9, np.repeat([1234567.8, 1234567.95], 50), 1234567.9),
        (1e15, np.array([0.0, 2e15]), 0),
    ],
)
def test_a_threshold_has_as_few_digits_as_move_nearly_no_customer(threshold, values, expected):
    rounded = round_threshold(threshold, values)
    moved = np.count_nonzero((values <= rounded) != (values <= threshold))
    assert moved <= 0.01 * len(values)
    assert rounded == pytest.approx(expected, rel=1e-9)


def test_conditions_on_one_column_are_merged_in_the_text():
    def condition(column, operator, value):
        return Condition(column=column, operator=operator, value=value)

    path = (condition("A", "<=", 1900), condition("B", ">", 7500), condition("A", ">", 0.25))
    assert to_text(path) == "A above 0.25 and at most 1,900 and B above 7,500"
    assert to_text(()) == "every customer"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-1500.5, "-1,500.5"), (1e15, "1,000,000,000,000,000"), (1e-12, "1e-12"), (0.1, "0.1")]
)
def test_a_threshold_is_written_with_all_its_digits(value, text):
    assert format_threshold(value) == text


def test_equal_customers_and_very_few_customers_are_no_problem():
    same = find_rules(pd.DataFrame({"A": np.zeros(10)}), np.array([1] * 6 + [2] * 4), [1, 2])
    assert (same.leaves, [one.text for one in same.segments[0].rules]) == (1, ["every customer"])
    one = find_rules(pd.DataFrame({"A": [1.0]}), np.array([2]), [1, 2])
    assert (one.accuracy, one.customers_evaluated, one.segments[1].recall) == (None, 0, None)
    none = find_rules(pd.DataFrame({"A": []}), np.empty(0, dtype=np.int64), [1, 2])
    assert (none.accuracy, none.leaves, [len(one.rules) for one in none.segments]) == (None, 0, [0, 0])


def test_a_hundred_segments_get_rules_in_at_most_two_hundred_leaves():
    values = RNG.uniform(0, 10, (20_000, 2))
    ids = values[:, 0].astype(int) * 10 + values[:, 1].astype(int) + 1
    rules = find_rules(pd.DataFrame(values, columns=["A", "B"]), ids, range(1, 101))
    assert rules.leaves <= 200
    assert rules.accuracy > 0.95
