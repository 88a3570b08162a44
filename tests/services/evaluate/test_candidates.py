import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from services.contract.errors import DataError
from services.evaluate import candidates
from services.evaluate.candidates import SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS, assess, draw


def sweep(features, k_values):
    return {k: KMeans(k, n_init=3, random_state=7).fit(features) for k in k_values}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.5, (150, 2)) for centre in ([0, 0], [4, 0], [0, 4])])


def test_every_k_gets_the_indices_that_scikit_learn_gives_for_all_customers(features):
    models = sweep(features, [2, 3])
    for candidate in assess(features, models, resamples=2, seed=7):
        model = models[candidate.k]
        assert candidate.sse == model.inertia_
        assert candidate.silhouette == pytest.approx(silhouette_score(features, model.labels_))
        assert candidate.davies_bouldin == pytest.approx(davies_bouldin_score(features, model.labels_))
        assert candidate.calinski_harabasz == pytest.approx(calinski_harabasz_score(features, model.labels_))
        assert candidate.smallest_share == np.bincount(model.labels_).min() / len(features)
        assert len(candidate.jaccard) == candidate.k


def test_the_right_number_of_groups_stands_out(features):
    found = {candidate.k: candidate for candidate in assess(features, sweep(features, [2, 3, 4, 5]), resamples=10, seed=7)}
    assert max(found, key=lambda k: found[k].silhouette) == 3
    assert max(found, key=lambda k: min(found[k].jaccard)) == 3


def test_each_verdict_comes_as_soon_as_it_is_ready(features):
    assert next(assess(features, sweep(features, [2, 3]), resamples=2, seed=7)).k == 2


def test_where_there_are_many_customers_the_silhouette_is_that_of_a_sample_drawn_with_the_seed(features, monkeypatch):
    monkeypatch.setattr(candidates, "SILHOUETTE_CUSTOMERS", 100)
    models = sweep(features, [3])
    looked_at = draw(len(features), 100, np.random.default_rng(7))
    expected = silhouette_score(features[looked_at], models[3].labels_[looked_at])

    def silhouette(seed):
        return next(assess(features, models, resamples=2, seed=seed)).silhouette

    assert silhouette(7) == silhouette(7) == pytest.approx(expected)
    assert silhouette(8) != silhouette(7)


def test_the_thresholds_of_the_samples_are_as_documented():
    assert (SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS) == (1_000, 10_000)


def test_a_sample_has_nobody_twice_and_all_customers_are_taken_where_they_are_few_enough():
    drawn = draw(1000, 100, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 100
    assert draw(100, 100, np.random.default_rng(0)).tolist() == list(range(100))


def test_a_cluster_too_rare_for_the_sample_is_no_trouble():
    features = np.concatenate([np.random.default_rng(0).normal(size=(12_000, 1)), [[1e4]]])
    candidate = next(assess(features, sweep(features, [2]), resamples=2, seed=0))
    assert candidate.smallest_share == 1 / 12_001
    assert candidate.silhouette == 0.0  # the sample shows one cluster only
    assert min(candidate.jaccard) == 0.0


def test_features_and_models_of_the_table_stay_as_they_were(features):
    models = sweep(features, [2, 3])
    before = features.copy(), {k: model.cluster_centers_.copy() for k, model in models.items()}
    list(assess(features, models, resamples=2, seed=7))
    np.testing.assert_array_equal(features, before[0])
    for k, model in models.items():
        np.testing.assert_array_equal(model.cluster_centers_, before[1][k])


def test_a_model_without_labels_is_judged_alike(features):
    models = sweep(features, [2, 3])
    with_labels = list(assess(features, models, resamples=2, seed=7))
    for model in models.values():
        del model.labels_
    assert list(assess(features, models, resamples=2, seed=7)) == with_labels


def test_as_many_clusters_as_customers_are_refused():
    features = np.arange(4.0).reshape(-1, 1)
    with pytest.raises(DataError, match="k = 4 for 4 customers leaves nothing to compare"):
        next(assess(features, sweep(features, [3, 4]), resamples=2, seed=7))
