"""Previous segments kept as they are, fitted to the current customers, or given up."""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline

from services.contract.preparation import Preparation
from services.segment.assignment import Segmenter
from services.segment.clusters import ClusterResult, find_clusters, refit
from services.segment.part_tasks import CustomerPart
from services.segment.previous import PreviousRun, translate
from stagekit.workers.worker_pool import worker_pool

AS_IS = Preparation(("x", "y"), (), {}, False, {}, Pipeline([("as_is", "passthrough")]), None, {})
"""A preparation whose space is that of the table."""

# Three clouds on a line: the one in the middle can go with either of the others, 2% better with the left one.
CUSTOMERS = np.repeat([[0.0, 0.0], [1.0, 0.0], [2.01, 0.0]], [50, 20, 50], axis=0)
CUSTOMERS = CUSTOMERS + np.random.default_rng(0).normal(0, 0.01, CUSTOMERS.shape)
WITH_LEFT = np.array([[20 / 70, 0.0], [2.01, 0.0]])
WITH_RIGHT = np.array([[0.0, 0.0], [120.5 / 70, 0.0]])

# A square of four clouds: left and right have nothing in common with upper and lower.
CORNERS = np.repeat([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], 25, axis=0)
LEFT_RIGHT = np.array([[0.0, 0.5], [1.0, 0.5]])
UP_DOWN = np.array([[0.5, 0.0], [0.5, 1.0]])


def continue_from(
    previous_centroids: np.ndarray,
    trained: np.ndarray,
    tolerance: float,
    customers: np.ndarray = CUSTOMERS,
    translated: np.ndarray | None = None,
) -> ClusterResult:
    """Decide on the clusters of customers, in whose space previous and trained centroids are."""
    segmenter = Segmenter(AS_IS, previous_centroids, np.full(2, np.inf), np.array([1, 2]), ("", ""), has_ids=False)
    previous = PreviousRun("one", None, segmenter, missing_columns=(), membership=None, centroids=translated)
    table = pd.DataFrame(customers, columns=["x", "y"])
    with worker_pool() as pool:
        parts = pool.persist(lambda part: CustomerPart(part, None), [table[:30], table[30:]])
        return find_clusters(parts, AS_IS, trained, previous, tolerance)


def test_segments_that_are_nearly_as_good_as_the_trained_clusters_stay():
    kept = continue_from(WITH_RIGHT, WITH_LEFT, tolerance=0.05)
    np.testing.assert_allclose(kept.centroids, WITH_RIGHT, atol=0.01)
    assert 1.01 < kept.warm_start_sse_ratio < 1.03


def test_segments_that_are_worse_give_way():
    kept = continue_from(WITH_RIGHT, WITH_LEFT, tolerance=0.001, translated=WITH_RIGHT)
    np.testing.assert_array_equal(kept.centroids, WITH_LEFT)
    assert kept.warm_start_sse_ratio is None


def test_segments_that_are_good_enough_as_they_were_do_not_move_at_all():
    before = WITH_RIGHT + 0.003  # not where K-Means would go on to
    np.testing.assert_array_equal(continue_from(before, WITH_LEFT, tolerance=0.05, translated=before).centroids, before)


def test_segments_follow_their_customers():
    moved = CUSTOMERS + 0.3
    kept = continue_from(WITH_RIGHT, WITH_RIGHT + 0.3, tolerance=0.05, customers=moved, translated=WITH_RIGHT)
    np.testing.assert_allclose(kept.centroids, WITH_RIGHT + 0.3, atol=0.01)


def test_without_anything_to_continue_the_trained_clusters_stay():
    kept = continue_from(UP_DOWN, LEFT_RIGHT, tolerance=1, customers=CORNERS)
    np.testing.assert_array_equal(kept.centroids, LEFT_RIGHT)
    assert kept.continues == {}


def test_centroids_move_like_the_mean_of_their_customers_and_one_without_any_stays():
    centroids = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    sums = np.array([[3.0, -6.0], [0.0, 0.0], [0.0, 0.0]])
    expected = np.array([[1.1, -1.8], [0.3, 0.4], [0.5, 0.6]])
    np.testing.assert_allclose(translate(centroids, sums, np.array([3, 9, 0])), expected)


def test_another_grouping_that_is_no_better_moves_no_customer():
    kept = continue_from(UP_DOWN, LEFT_RIGHT, tolerance=0.001, customers=CORNERS, translated=UP_DOWN)
    np.testing.assert_array_equal(np.sort(kept.centroids, axis=0), UP_DOWN)
    assert sorted(kept.continues.values()) == [1, 2]


def test_another_grouping_that_is_better_is_taken_and_continues_nothing():
    wide = CORNERS * [1.1, 1.0]
    kept = continue_from(
        UP_DOWN * [1.1, 1.0], LEFT_RIGHT * [1.1, 1.0], tolerance=0.1, customers=wide, translated=UP_DOWN * [1.1, 1.0]
    )
    np.testing.assert_array_equal(kept.centroids, LEFT_RIGHT * [1.1, 1.0])
    assert kept.continues == {}


def test_a_refit_is_that_of_scikit_learn():
    features = np.random.default_rng(0).normal(size=(500, 2))
    start = features[:3]

    def sum_nearest(centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.square(features[:, None] - centroids).sum(axis=2).argmin(axis=1)
        return np.array([features[labels == one].sum(axis=0) for one in range(3)]), np.bincount(labels, minlength=3)

    expected = KMeans(3, init=start, n_init=1).fit(features)
    found = refit(start, sum_nearest)
    np.testing.assert_allclose(found, [features[expected.labels_ == one].mean(axis=0) for one in range(3)])


def test_a_refit_that_leaves_a_cluster_empty_is_given_up():
    assert refit(np.zeros((2, 1)), lambda _: (np.array([[3.0], [0.0]]), np.array([3, 0]))) is None
