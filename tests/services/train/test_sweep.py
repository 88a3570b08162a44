"""K-Means for every k, exact and from a sample."""

import pickle

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from bench.populations import FAMILIES, draw
from services.train import parallel, sampled_kmeans
from services.train.coreset import compute_moments, draw_sample
from services.train.parallel import divide_into_chunks, single_threaded_pool
from services.train.sampled_kmeans import KMeansParameters
from services.train.sweep import MAX_EXACT_CUSTOMERS, choose_strategy, sweep
from stagekit.errors import DataError

RECIPE = KMeansParameters(n_init=10, max_iter=300, random_state=7)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.3, size=(60, 2)) for centre in (0, 3, 7)])


def standardised(family, n_customers, n_features=3, seed=1):
    return StandardScaler().fit_transform(draw(family, n_customers, n_features, seed))


def test_every_k_is_the_fit_that_the_lab_makes(features):
    for fit in sweep([features], [2, 3, 4], RECIPE):
        lab = KMeans(n_clusters=fit.k, init="k-means++", **RECIPE._asdict()).fit(features)
        assert fit.sse == pytest.approx(lab.inertia_, rel=1e-12)
        np.testing.assert_allclose(fit.model.cluster_centers_, lab.cluster_centers_)
        np.testing.assert_array_equal(fit.model.labels_, lab.labels_)


def test_more_clusters_have_a_smaller_sse(features):
    sse = [fit.sse for fit in sweep([features], [2, 3, 4, 5], RECIPE)]
    assert sse == sorted(sse, reverse=True)


@pytest.mark.parametrize("strategy", ["exact", "sample"])
def test_the_fits_are_yielded_in_the_order_of_k(features, strategy):
    assert [fit.k for fit in sweep([features], [2, 3, 4, 5], RECIPE, strategy=strategy)] == [2, 3, 4, 5]


def test_a_fit_is_yielded_before_the_others_are_ready(features):
    assert next(sweep([features], [2, 3], RECIPE)).k == 2


def test_the_time_left_shrinks_to_nothing(features):
    fits = list(sweep([features], [2, 3, 5], RECIPE))
    assert [fit.seconds_left / fit.seconds for fit in fits] == pytest.approx([8 / 2, 5 / 5, 0])


@pytest.mark.parametrize("strategy", ["exact", "sample"])
def test_fewer_distinct_customers_than_clusters_are_rejected(strategy):
    features = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]] * 50)
    with pytest.raises(DataError, match="2 distinct rows, k = 3 needs as many or more"):
        list(sweep([features, features], [2, 3], RECIPE, strategy=strategy))


def test_distinct_customers_are_found_beyond_the_first_rows():
    features = np.concatenate([np.zeros((1000, 1)), np.arange(5.0).reshape(-1, 1)])
    assert [fit.k for fit in sweep([features[:1002], features[1002:]], [5], RECIPE)] == [5]


def test_the_automatic_strategy_is_exact_up_to_a_number_of_customers():
    assert choose_strategy("auto", MAX_EXACT_CUSTOMERS) == ("exact", "100,000 customers are at most 100,000")
    assert choose_strategy("auto", MAX_EXACT_CUSTOMERS + 1) == ("sample", "100,001 customers are more than 100,000")
    assert choose_strategy("exact", 10**9).name == "exact"
    assert choose_strategy("sample", 10).name == "sample"


@pytest.mark.parametrize("family", FAMILIES)
def test_from_a_sample_the_sse_is_that_of_the_recipe(family):
    features = standardised(family, 80_000)
    for fit in sweep([features], [2, 6], RECIPE, strategy="sample"):
        assert fit.seconds_left == 0  # all k are finished together
        lab = KMeans(fit.k, **RECIPE._asdict()).fit(features)
        assert fit.sse <= 1.001 * lab.inertia_
        assert fit.sse == pytest.approx(-fit.model.score(features), rel=1e-9)


def test_from_a_sample_the_best_optimum_of_one_k_improves_its_neighbours(monkeypatch):
    features = standardised("mixed", 120_000)

    def sse_by_k():
        fits = sweep([features], range(5, 11), KMeansParameters(n_init=1, max_iter=300, random_state=7), strategy="sample")
        return np.array([fit.sse for fit in fits])

    monkeypatch.setattr(sampled_kmeans, "SUBSAMPLE_STARTS", 1)
    with_neighbours = sse_by_k()
    monkeypatch.setattr(sampled_kmeans, "MAX_NEIGHBOURS", 0)
    without = sse_by_k()
    assert (with_neighbours <= 1.0001 * without).all()
    assert (with_neighbours < 0.999 * without).any()


def test_from_a_sample_the_model_is_one_of_the_recipe_without_labels(features):
    fit = next(sweep([features], [3], RECIPE, strategy="sample"))
    assert not hasattr(fit.model, "labels_")
    assert fit.model.get_params() == KMeans(3, **RECIPE._asdict()).get_params()
    lab = KMeans(3, **RECIPE._asdict()).fit(features)
    again = pickle.loads(pickle.dumps(fit.model))
    np.testing.assert_allclose(np.sort(again.cluster_centers_, axis=0), np.sort(lab.cluster_centers_, axis=0))
    assert len(np.unique(again.predict(features))) == 3


def test_with_one_iteration_the_sse_is_that_of_the_centroids(features):
    fit = next(sweep([features], [4], KMeansParameters(n_init=1, max_iter=1, random_state=7), strategy="sample"))
    assert fit.sse == pytest.approx(-fit.model.score(features), rel=1e-9)


def test_results_do_not_depend_on_the_parts_or_the_number_of_threads(monkeypatch):
    features = standardised("mixed", 80_000)

    def fit_models(parts):
        return [
            fit.model
            for fit in sweep(parts, [2, 5], KMeansParameters(n_init=2, max_iter=300, random_state=7), strategy="sample")
        ]

    from_one_part, from_three = fit_models([features]), fit_models([features[:10], features[10:50_001], features[50_001:]])
    for one, other in zip(from_one_part, from_three, strict=True):
        np.testing.assert_allclose(other.cluster_centers_, one.cluster_centers_, rtol=1e-9)
        assert other.inertia_ == pytest.approx(one.inertia_, rel=1e-9)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 3)
    for one, other in zip(from_one_part, fit_models([features]), strict=True):
        np.testing.assert_array_equal(other.cluster_centers_, one.cluster_centers_)


def test_the_exact_fits_are_the_same_from_parts_and_from_any_number_of_threads(features, monkeypatch):
    one = [fit.model.inertia_ for fit in sweep([features], [2, 3, 4], RECIPE)]
    monkeypatch.setattr(parallel, "cpu_count", lambda: 1)
    assert [fit.model.inertia_ for fit in sweep([features[:7], features[7:]], [2, 3, 4], RECIPE)] == pytest.approx(
        one, rel=1e-12
    )


def test_a_sample_does_not_depend_on_the_parts_and_represents_all_customers():
    features = standardised("heavy tails", 200_000)
    with single_threaded_pool() as pool:
        chunks = divide_into_chunks([features], pool)
        moments = compute_moments(chunks)
        sample = draw_sample(chunks, moments, 50_000, seed=7)
        in_two_parts = divide_into_chunks([features[:777], features[777:]], pool)
        again = draw_sample(in_two_parts, compute_moments(in_two_parts), 50_000, seed=7)
    np.testing.assert_array_equal(again.points, sample.points)
    assert moments.squares == pytest.approx(600_000)
    for size, (points, weights) in [
        (50_000, sample.weighted_points(50_000)),
        *((10_000, sample.subsample(one, 10_000)) for one in range(5)),
    ]:
        assert 0.8 * size < len(points) < 1.03 * size
        assert weights.min() == 1  # the farthest customers are all included
        assert weights.sum() == pytest.approx(200_000, rel=0.05)
        assert weights @ np.square(points).sum(axis=1) == pytest.approx(moments.squares, rel=0.05)


def test_subsamples_share_only_points_of_small_weight():
    features = standardised("heavy tails", 200_000)
    with single_threaded_pool() as pool:
        chunks = divide_into_chunks([features], pool)
        sample = draw_sample(chunks, compute_moments(chunks), 50_000, seed=7)
    subsamples = [
        {tuple(point): weight for point, weight in zip(*sample.subsample(one, 10_000), strict=True)} for one in range(5)
    ]
    assert set().union(*subsamples) == set(map(tuple, sample.points))
    twice = set(subsamples[0]) & set(subsamples[1])
    assert twice
    assert max(subsamples[0][point] for point in twice) < 4


def test_every_row_is_passed_once_with_its_position(monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK_ROWS", 4)
    rows = np.arange(23.0).reshape(-1, 1)
    with single_threaded_pool() as pool:
        chunks = divide_into_chunks([rows[:9], rows[9:9], rows[9:]], pool).map(
            lambda chunk, first: (first, chunk[:, 0].tolist())
        )
    assert [value for _, chunk in chunks for value in chunk] == list(range(23))
    assert all(first == chunk[0] for first, chunk in chunks)


def test_the_features_are_not_modified(features):
    before = features.copy()
    for strategy in ("exact", "sample"):
        list(sweep([features], [2, 3], RECIPE, strategy=strategy))
    np.testing.assert_array_equal(features, before)
