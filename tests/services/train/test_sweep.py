import numpy as np
import pytest
from sklearn.cluster import KMeans

from services.contract.errors import DataError
from services.train.sweep import sweep

RECIPE = {"n_init": 10, "max_iter": 300, "random_state": 7}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.3, size=(60, 2)) for centre in (0, 3, 7)])


def test_every_k_is_the_fit_that_the_lab_makes(features):
    for fit in sweep(features, [2, 3, 4], **RECIPE):
        lab = KMeans(n_clusters=fit.k, init="k-means++", **RECIPE).fit(features)
        assert fit.sse == pytest.approx(lab.inertia_, rel=1e-12)
        np.testing.assert_allclose(fit.model.cluster_centers_, lab.cluster_centers_)


def test_more_clusters_leave_a_smaller_error(features):
    sse = [fit.sse for fit in sweep(features, [2, 3, 4, 5], **RECIPE)]
    assert sse == sorted(sse, reverse=True)


def test_each_fit_comes_as_soon_as_it_is_ready(features):
    fits = sweep(features, [2, 3], **RECIPE)
    assert next(fits).k == 2


def test_fewer_distinct_customers_than_clusters_are_refused():
    features = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]] * 50)
    with pytest.raises(DataError, match="2 distinct rows, k = 3 needs as many or more"):
        list(sweep(features, [2, 3], **RECIPE))


def test_distinct_customers_are_found_however_late_they_come():
    features = np.concatenate([np.zeros((1000, 1)), np.arange(5.0).reshape(-1, 1)])
    assert [fit.k for fit in sweep(features, [5], **RECIPE)] == [5]
