"""Segments in the solutions with fewer and more clusters."""

import numpy as np
import pytest

from services.segment.across_k import compare_across_k, neighbouring_k, slsa


@pytest.mark.parametrize(
    ("k_values", "chosen", "expected"), [([2, 3, 4, 5], 3, [2, 4]), ([2, 4, 8], 4, [2, 8]), ([3, 5], 3, [5]), ([3], 3, [])]
)
def test_the_neighbours_are_the_next_k_that_were_fitted(k_values, chosen, expected):
    assert neighbouring_k(k_values, chosen) == expected


def test_slsa_is_one_minus_the_normalised_entropy():
    assert slsa(np.array([0, 7, 0])) == pytest.approx(1)
    assert slsa(np.array([5, 5, 5])) == pytest.approx(0)
    # By hand: shares 3/4 and 1/4, entropy 0.5623, log 2 = 0.6931.
    assert slsa(np.array([3, 1])) == pytest.approx(1 - 0.562335 / 0.693147, abs=1e-6)


def test_a_segment_that_stays_and_two_that_are_joined_are_recognised():
    features = np.array([[0.0], [0.0], [5.0], [5.0], [6.0], [6.0]])
    [fewer] = compare_across_k(features, np.array([3, 3, 1, 1, 7, 7]), {2: np.array([[5.5], [0.0]])})
    assert (fewer.k, fewer.customers) == (2, 6)
    assert {(flow.cluster, flow.segment_id): flow.customers for flow in fewer.flows} == {(1, 3): 2, (0, 1): 2, (0, 7): 2}
    assert [(one.segment_id, one.best_cluster, one.best_jaccard, one.slsa) for one in fewer.segments] == [
        (1, 0, 0.5, 1.0),
        (3, 1, 1.0, 1.0),
        (7, 0, 0.5, 1.0),
    ]


def test_a_segment_that_is_divided_has_a_low_stability():
    features = np.array([[0.0], [1.0], [8.0], [8.0]])
    [more] = compare_across_k(features, np.array([1, 1, 2, 2]), {3: np.array([[0.0], [1.0], [8.0]])})
    assert [one.slsa for one in more.segments] == [pytest.approx(1 - np.log(2) / np.log(3), abs=1e-6), 1.0]
    assert [one.best_jaccard for one in more.segments] == [0.5, 1.0]


def test_without_customers_there_is_nothing_to_compare():
    [empty] = compare_across_k(np.empty((0, 1)), np.empty(0, dtype=np.int64), {2: np.array([[0.0], [1.0]])})
    assert (empty.customers, empty.flows, empty.segments) == (0, (), ())
