import pickle

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from bench.populations import FAMILIES, draw
from services.train import parallel as threads
from services.train import sampled_kmeans as sampling
from services.train.coreset import draw_sample, measure
from services.train.parallel import map_chunks_in_threads, single_threaded_pool
from services.train.sweep import EXACT_CUSTOMERS, choose_strategy, sweep
from stagekit.errors import DataError

RECIPE = {"n_init": 10, "max_iter": 300, "random_state": 7}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.3, size=(60, 2)) for centre in (0, 3, 7)])


def standardised(family, n_customers, n_features=3, seed=1):
    return StandardScaler().fit_transform(draw(family, n_customers, n_features, seed))


def test_every_k_is_the_fit_that_the_lab_makes(features):
    for fit in sweep([features], [2, 3, 4], **RECIPE):
        lab = KMeans(n_clusters=fit.k, init="k-means++", **RECIPE).fit(features)
        assert fit.sse == pytest.approx(lab.inertia_, rel=1e-12)
        np.testing.assert_allclose(fit.model.cluster_centers_, lab.cluster_centers_)
        np.testing.assert_array_equal(fit.model.labels_, lab.labels_)


def test_more_clusters_leave_a_smaller_error(features):
    sse = [fit.sse for fit in sweep([features], [2, 3, 4, 5], **RECIPE)]
    assert sse == sorted(sse, reverse=True)


@pytest.mark.parametrize("strategy", ["exact", "sample"])
def test_the_fits_come_in_the_order_of_k(features, strategy):
    assert [fit.k for fit in sweep([features], [2, 3, 4, 5], strategy=strategy, **RECIPE)] == [2, 3, 4, 5]


def test_a_fit_can_be_taken_before_the_others_are_ready(features):
    assert next(sweep([features], [2, 3], **RECIPE)).k == 2


def test_the_time_left_shrinks_to_nothing(features):
    fits = list(sweep([features], [2, 3, 5], **RECIPE))
    assert [fit.seconds_left / fit.seconds for fit in fits] == pytest.approx([8 / 2, 5 / 5, 0])


@pytest.mark.parametrize("strategy", ["exact", "sample"])
def test_fewer_distinct_customers_than_clusters_are_refused(strategy):
    features = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]] * 50)
    with pytest.raises(DataError, match="2 distinct rows, k = 3 needs as many or more"):
        list(sweep([features, features], [2, 3], strategy=strategy, **RECIPE))


def test_distinct_customers_are_found_however_late_they_come():
    features = np.concatenate([np.zeros((1000, 1)), np.arange(5.0).reshape(-1, 1)])
    assert [fit.k for fit in sweep([features[:1002], features[1002:]], [5], **RECIPE)] == [5]


def test_left_to_itself_the_strategy_is_exact_up_to_a_number_of_customers():
    assert choose_strategy("auto", EXACT_CUSTOMERS) == ("exact", "100,000 customers are at most 100,000")
    assert choose_strategy("auto", EXACT_CUSTOMERS + 1) == ("sample", "100,001 customers are more than 100,000")
    assert choose_strategy("exact", 10**9).name == "exact"
    assert choose_strategy("sample", 10).name == "sample"


@pytest.mark.parametrize("family", FAMILIES)
def test_from_a_sample_the_error_is_that_of_the_recipe(family):
    features = standardised(family, 120_000)
    for fit in sweep([features], [2, 6], strategy="sample", **RECIPE):
        assert fit.seconds_left == 0  # all k are finished together
        lab = KMeans(fit.k, **RECIPE).fit(features)
        assert fit.sse <= 1.001 * lab.inertia_
        assert fit.sse == pytest.approx(-fit.model.score(features), rel=1e-9)


def test_from_a_sample_the_best_for_one_k_leads_to_better_ones_for_its_neighbours(monkeypatch):
    features = standardised("mixed", 120_000)

    def errors():
        fits = sweep([features], range(5, 11), strategy="sample", n_init=1, max_iter=300, random_state=7)
        return np.array([fit.sse for fit in fits])

    monkeypatch.setattr(sampling, "STARTS", 1)
    together = errors()
    monkeypatch.setattr(sampling, "NEIGHBOURS", 0)
    alone = errors()
    assert (together <= 1.0001 * alone).all()
    assert (together < 0.999 * alone).any()


def test_from_a_sample_the_model_is_one_of_the_recipe_without_labels(features):
    fit = next(sweep([features], [3], strategy="sample", **RECIPE))
    assert not hasattr(fit.model, "labels_")
    assert fit.model.get_params() == KMeans(3, **RECIPE).get_params()
    lab = KMeans(3, **RECIPE).fit(features)
    again = pickle.loads(pickle.dumps(fit.model))
    np.testing.assert_allclose(np.sort(again.cluster_centers_, axis=0), np.sort(lab.cluster_centers_, axis=0))
    assert len(np.unique(again.predict(features))) == 3


def test_with_one_iteration_the_error_is_still_that_of_the_centroids(features):
    fit = next(sweep([features], [4], strategy="sample", n_init=1, max_iter=1, random_state=7))
    assert fit.sse == pytest.approx(-fit.model.score(features), rel=1e-9)


def test_neither_the_cut_into_parts_nor_the_threads_matter(monkeypatch):
    features = standardised("mixed", 80_000)

    def found(parts):
        return [fit.model for fit in sweep(parts, [2, 5], strategy="sample", n_init=2, max_iter=300, random_state=7)]

    whole, cut = found([features]), found([features[:10], features[10:50_001], features[50_001:]])
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(other.cluster_centers_, one.cluster_centers_, rtol=1e-9)
        assert other.inertia_ == pytest.approx(one.inertia_, rel=1e-9)
    monkeypatch.setattr(threads, "cpu_count", lambda: 3)
    for one, other in zip(whole, found([features]), strict=True):
        np.testing.assert_array_equal(other.cluster_centers_, one.cluster_centers_)


def test_the_exact_fits_are_the_same_from_parts_and_from_any_number_of_threads(features, monkeypatch):
    one = [fit.model.inertia_ for fit in sweep([features], [2, 3, 4], **RECIPE)]
    monkeypatch.setattr(threads, "cpu_count", lambda: 1)
    assert [fit.model.inertia_ for fit in sweep([features[:7], features[7:]], [2, 3, 4], **RECIPE)] == pytest.approx(
        one, rel=1e-12
    )


def test_a_sample_is_drawn_row_by_row_and_stands_for_all_customers():
    features = standardised("heavy tails", 200_000)
    with single_threaded_pool() as pool:
        apply = map_chunks_in_threads([features], pool)
        everybody = measure(apply)
        sample = draw_sample(apply, everybody, 50_000, seed=7)
        in_two_parts = map_chunks_in_threads([features[:777], features[777:]], pool)
        again = draw_sample(in_two_parts, measure(in_two_parts), 50_000, seed=7)
    np.testing.assert_array_equal(again.points, sample.points)
    assert everybody.squares == pytest.approx(600_000)
    for size, (points, weights) in [(50_000, sample.whole(50_000)), *((10_000, sample.slice(one, 10_000)) for one in range(5))]:
        assert 0.8 * size < len(points) < 1.03 * size
        assert weights.min() == 1  # the farthest are all there
        assert weights.sum() == pytest.approx(200_000, rel=0.05)
        assert weights @ np.square(points).sum(axis=1) == pytest.approx(everybody.squares, rel=0.05)


def test_slices_have_only_those_in_common_who_stand_for_few():
    features = standardised("heavy tails", 200_000)
    with single_threaded_pool() as pool:
        apply = map_chunks_in_threads([features], pool)
        sample = draw_sample(apply, measure(apply), 50_000, seed=7)
    slices = [{tuple(point): weight for point, weight in zip(*sample.slice(one, 10_000), strict=True)} for one in range(5)]
    assert set().union(*slices) == set(map(tuple, sample.points))
    twice = set(slices[0]) & set(slices[1])
    assert twice
    assert max(slices[0][point] for point in twice) < 4


def test_functions_are_given_every_row_once_with_its_number(monkeypatch):
    monkeypatch.setattr(threads, "PIECE_ROWS", 4)
    rows = np.arange(23.0).reshape(-1, 1)
    with single_threaded_pool() as pool:
        pieces = map_chunks_in_threads([rows[:9], rows[9:9], rows[9:]], pool)(
            lambda piece, first: (first, piece[:, 0].tolist())
        )
    assert [value for _, piece in pieces for value in piece] == list(range(23))
    assert all(first == piece[0] for first, piece in pieces)


def test_the_features_stay_as_they_were(features):
    before = features.copy()
    for strategy in ("exact", "sample"):
        list(sweep([features], [2, 3], strategy=strategy, **RECIPE))
    np.testing.assert_array_equal(features, before)
