import numpy as np

from services.segment.continuity import continue_segments

# A square of four clouds: two clusters can split it into left and right, or into upper and lower, nearly equally well.
CORNERS = np.repeat([[0.0, 0.0], [0.0, 1.0], [1.01, 0.0], [1.01, 1.0]], 25, axis=0)
CUSTOMERS = CORNERS + np.random.default_rng(0).normal(0, 0.01, CORNERS.shape)
LEFT_RIGHT = np.array([[0.0, 0.5], [1.01, 0.5]])
UP_DOWN = np.array([[0.505, 0.0], [0.505, 1.0]])


def sse(centroids: np.ndarray) -> float:
    return float(((CUSTOMERS[:, None] - centroids) ** 2).sum(axis=2).min(axis=1).sum())


def nearest(centroids: np.ndarray) -> np.ndarray:
    return ((CUSTOMERS[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)


def test_segments_that_are_nearly_as_good_as_the_trained_clusters_stay():
    kept = continue_segments(CUSTOMERS, LEFT_RIGHT, sse(LEFT_RIGHT), nearest(UP_DOWN), {0: 0, 1: 1}, slack=0.05)
    np.testing.assert_allclose(kept, UP_DOWN, atol=0.01)


def test_segments_that_are_worse_give_way():
    assert continue_segments(CUSTOMERS, LEFT_RIGHT, sse(LEFT_RIGHT), nearest(UP_DOWN), {0: 0, 1: 1}, slack=0.001) is None


def test_segments_follow_their_customers():
    moved = CUSTOMERS + 0.3
    kept = continue_segments(moved, UP_DOWN + 0.3, sse(UP_DOWN), nearest(UP_DOWN), {0: 0, 1: 1}, slack=0.05)
    np.testing.assert_allclose(kept, UP_DOWN + 0.3, atol=0.01)


def test_without_anything_to_continue_the_trained_clusters_stay():
    assert continue_segments(CUSTOMERS, LEFT_RIGHT, sse(LEFT_RIGHT), nearest(UP_DOWN), {}, slack=1) is None
