import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contract.segment_registry import RegisteredSegment
from services.segment.assignment import UNASSIGNED
from services.segment.matching import (
    MIN_JACCARD,
    assign_segment_ids,
    centroid_similarity,
    count_pairs,
    jaccard_matrix,
    match_clusters,
)


def known(segment_id: int, **centroid: float) -> RegisteredSegment:
    return RegisteredSegment(segment_id=segment_id, name=f"name {segment_id}", run="demo", centroid=centroid)


def no_own(n_clusters: int) -> np.ndarray:
    return np.zeros((n_clusters, 0))


def test_similarity_is_the_share_of_common_customers_among_those_in_either():
    current = np.array([0, 0, 0, 1, 1, UNASSIGNED, 0])
    previous = np.array([1, 1, 0, 0, 0, 0, UNASSIGNED])
    np.testing.assert_allclose(jaccard_matrix(count_pairs(current, previous, 2, 2)), [[1 / 5, 2 / 3], [2 / 3, 0]])


def test_segments_without_common_customers_are_not_alike():
    assert jaccard_matrix(count_pairs(np.array([UNASSIGNED]), np.array([UNASSIGNED]), 2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_shuffled_labels_are_matched():
    assert match_clusters(np.array([[0.0, 0.1, 0.99], [0.98, 0.0, 0.0], [0.0, 0.97, 0.0]]), 0.5) == {0: 2, 1: 0, 2: 1}


def test_what_shares_half_of_its_customers_or_less_is_not_the_same_segment():
    assert match_clusters(np.array([[0.5, 0.2], [0.3, 0.51]]), MIN_JACCARD) == {1: 1}


def test_a_match_above_the_threshold_is_never_given_up_for_a_larger_sum():
    # 0.49 + 0.49 would be more than 0.51 + 0
    assert match_clusters(np.array([[0.51, 0.49], [0.49, 0.0]]), 0.5) == {0: 0}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_no_segment_is_the_same_as_two_others(pairs):
    current, previous = np.array(pairs).T
    alike = jaccard_matrix(count_pairs(current, previous, 4, 4)) > MIN_JACCARD
    assert (alike.sum(axis=0) <= 1).all()
    assert (alike.sum(axis=1) <= 1).all()


def test_matched_clusters_keep_their_id_and_new_ones_get_the_next_the_largest_first():
    assert assign_segment_ids({1: 4}, no_own(4), [], [10, 20, 5, 30], next_id=8) == [9, 4, 10, 8]


def test_a_retry_gives_the_ids_that_it_gave_before():
    own = [known(8, x=30.0), known(9, x=10.0), known(4, x=20.0)]
    similarity = centroid_similarity([{"x": 10.001}, {"x": 20.0}, {"x": 77.0}, {"x": 30.0}], own, {"x": 1.0})
    assert assign_segment_ids({1: 4}, similarity, own, [10, 20, 5, 30], next_id=10) == [9, 4, 10, 8]


def test_centroids_are_compared_in_standard_deviations():
    own = [known(1, x=0.0, y=0.0)]
    similarity = centroid_similarity(
        [{"x": 0.0, "y": 0.0}, {"x": 10.0, "y": 0.001}, {"x": 100.0, "y": 0.0}, {}], own, {"x": 100.0, "y": 0.01}
    )
    np.testing.assert_allclose(similarity[:, 0], [1, 1 - np.sqrt(0.01) / 0.25, 0, 0], atol=1e-12)


def test_centroids_with_other_features_are_not_compared():
    assert centroid_similarity([{"x": 0.0}], [known(1, y=0.0)], {"x": 1.0}).tolist() == [[0.0]]


@given(st.permutations(range(6)), st.integers(0, 6))
def test_ids_are_never_given_twice(order, n_matched):
    ids = assign_segment_ids(dict(enumerate(order[:n_matched])), no_own(6), [], [1] * 6, next_id=6)
    assert len(set(ids)) == 6
