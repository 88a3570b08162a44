import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score
from sklearn.preprocessing import StandardScaler

from services.evaluate import indices
from services.evaluate.indices import Spread, calinski_harabasz, davies_bouldin, measure_spread
from stagekit.workers.worker_pool import worker_pool


def measure(parts, models):
    with worker_pool() as pool:
        return measure_spread(pool.persist(np.asarray, parts), models)


def heavy_tailed(n_features):
    """1,500 customers with standardised amounts of money."""
    return StandardScaler().fit_transform(np.random.default_rng(n_features).lognormal(0, 1, (1_500, n_features)))


@pytest.mark.parametrize("n_features", [1, 3, 8])
def test_the_indices_are_those_of_scikit_learn_for_any_division_into_parts(n_features, monkeypatch):
    monkeypatch.setattr(indices, "CHUNK_ROWS", 100)
    features = heavy_tailed(n_features)
    models = {k: KMeans(k, n_init=1, random_state=7).fit(features) for k in (2, 5, 9)}
    for cuts in ([], [1, 700, 700, 1_499]):  # one of the parts is empty
        spreads = measure(np.split(features, cuts), models)
        for k, model in models.items():
            assert calinski_harabasz(spreads[k]) == pytest.approx(calinski_harabasz_score(features, model.labels_), rel=1e-9)
            assert davies_bouldin(spreads[k]) == pytest.approx(davies_bouldin_score(features, model.labels_), rel=1e-9)
            assert spreads[k].sizes.tolist() == np.bincount(model.labels_).tolist()


def test_a_cluster_without_customers_does_not_count():
    features = np.array([[0.0], [1.0], [10.0], [12.0]])
    model = KMeans(3, n_init=1, init=np.array([[0.5], [11.0], [20.0]])).fit(np.array([[0.5], [11.0], [20.0]]))
    spread = measure([features], {3: model})[3]
    assert spread.sizes.tolist() == [2, 2, 0]
    assert calinski_harabasz(spread) == pytest.approx(calinski_harabasz_score(features, [0, 0, 1, 1]))
    assert davies_bouldin(spread) == pytest.approx(davies_bouldin_score(features, [0, 0, 1, 1]))


def test_clusters_of_equal_customers_get_the_limits_of_scikit_learn():
    features, labels = np.repeat([[0.0], [1.0]], 3, axis=0), [0, 0, 0, 1, 1, 1]
    spread = Spread(np.array([3, 3]), np.array([[0.0], [1.0]]), np.zeros(2), np.zeros(2))
    assert calinski_harabasz(spread) == calinski_harabasz_score(features, labels) == 1.0
    assert davies_bouldin(spread) == davies_bouldin_score(features, labels) == 0.0
