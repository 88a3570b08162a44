import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from services.evaluate import candidates
from services.evaluate.candidates import (
    MIN_MEMBERS,
    SCREENING_RESAMPLES,
    SILHOUETTE_CUSTOMERS,
    STABILITY_CUSTOMERS,
    assess_stability,
    score_candidates,
)
from services.evaluate.sample import Sample, draw_sample
from stagekit.errors import DataError
from stagekit.workers.worker_pool import worker_pool


def score(features, models, *, n_resamples=2, seed=7):
    """Score the models on a table in two parts, of which all customers are sampled."""
    with worker_pool() as pool:
        held = pool.persist(np.asarray, np.array_split(features, 2))
        sample = draw_sample(held, len(features), seed=seed)
        yield from score_candidates(held, sample, models, n_resamples=n_resamples, seed=seed)


def sweep(features, k_values):
    return {k: KMeans(k, n_init=3, random_state=7).fit(features) for k in k_values}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.5, (150, 2)) for centre in ([0, 0], [4, 0], [0, 4])])


def test_every_k_has_the_indices_of_scikit_learn_for_all_customers(features):
    models = sweep(features, [2, 3])
    for candidate in score(features, models):
        model = models[candidate.k]
        assert candidate.sse == model.inertia_
        assert candidate.silhouette == pytest.approx(silhouette_score(features, model.labels_))
        assert candidate.davies_bouldin == pytest.approx(davies_bouldin_score(features, model.labels_))
        assert candidate.calinski_harabasz == pytest.approx(calinski_harabasz_score(features, model.labels_))
        assert candidate.smallest_share == np.bincount(model.labels_).min() / len(features)
        assert len(candidate.jaccard) == candidate.k


def test_the_right_number_of_groups_has_the_best_indices(features):
    found = {candidate.k: candidate for candidate in score(features, sweep(features, [2, 3, 4, 5]), n_resamples=10)}
    assert max(found, key=lambda k: found[k].silhouette) == 3
    assert max(found, key=lambda k: min(found[k].jaccard)) == 3


def test_each_candidate_is_yielded_as_soon_as_it_is_ready(features):
    assert next(score(features, sweep(features, [2, 3]))).k == 2


def test_the_silhouette_of_many_customers_is_that_of_a_sample_drawn_with_the_seed(features, monkeypatch):
    monkeypatch.setattr(candidates, "SILHOUETTE_CUSTOMERS", 100)
    models = sweep(features, [3])
    looked_at = np.random.default_rng(7).choice(len(features), 100, replace=False)
    expected = silhouette_score(features[looked_at], models[3].labels_[looked_at])

    def silhouette(seed):
        return next(score(features, models, seed=seed)).silhouette

    assert silhouette(7) == silhouette(7) == pytest.approx(expected)
    assert silhouette(8) != silhouette(7)


def test_the_sizes_of_the_samples_are_as_documented():
    assert (SILHOUETTE_CUSTOMERS, STABILITY_CUSTOMERS, MIN_MEMBERS, SCREENING_RESAMPLES) == (1_000, 1_000_000, 50, 10)


def test_candidates_get_a_screening_estimate_with_its_standard_errors_and_number_of_resamples(features):
    (candidate,) = score(features, sweep(features, [3]), n_resamples=5)
    assert candidate.n_resamples == 5
    assert len(candidate.jaccard_se) == 3
    assert min(candidate.jaccard_se) >= 0
    assert candidate.ari_se >= 0


def test_the_full_estimate_replaces_the_screening_estimate_and_nothing_else(features):
    models = sweep(features, [4])
    (screened,) = score(features, models)
    full = assess_stability(screened, Sample(features, len(features)), models[4], n_resamples=30, seed=7)
    assert full.n_resamples == 30
    assert full.jaccard != screened.jaccard
    stability = {"jaccard", "jaccard_se", "ari", "ari_se", "n_resamples"}
    assert full.model_dump(exclude=stability) == screened.model_dump(exclude=stability)


def test_a_cluster_with_too_few_members_in_a_resample_is_not_assessed_unless_resamples_are_as_large_as_the_table(monkeypatch):
    features = np.concatenate([np.random.default_rng(0).normal(size=(200, 1)), np.full((2 * MIN_MEMBERS - 1, 1), 50.0)])
    models = sweep(features, [2])
    small = int(np.bincount(models[2].labels_).argmin())
    (whole,) = score(features[1::2], models)  # a table in which it has fewer than MIN_MEMBERS
    assert whole.jaccard[small] == 1.0

    def assess(features):
        monkeypatch.setattr(candidates, "MAX_DRAWN", len(features) / 2)
        sample = Sample(features, 10 * len(features))
        return assess_stability(whole, sample, models[2], n_resamples=2, seed=7)

    assert (assess(features).jaccard[small], assess(features).jaccard_se[small]) == (None, None)
    assert assess(features).jaccard[1 - small] == 1.0
    assert assess(np.concatenate([features, [[50.0]]])).jaccard[small] == 1.0


def test_the_weakest_cluster_is_the_weakest_of_those_that_were_assessed(features):
    (candidate,) = score(features, sweep(features, [3]))
    assert candidate.model_copy(update={"jaccard": (0.9, None, 0.7)}).weakest == 0.7
    assert candidate.model_copy(update={"jaccard": (None,)}).weakest is None


def test_a_sample_with_only_one_cluster_is_accepted():
    features = np.concatenate([np.random.default_rng(0).normal(size=(12_000, 1)), [[1e4]]])
    candidate = next(score(features, sweep(features, [2]), seed=0))
    assert candidate.smallest_share == 1 / 12_001
    assert candidate.silhouette == 0.0


def test_features_and_models_are_not_modified(features):
    models = sweep(features, [2, 3])
    before = features.copy(), {k: model.cluster_centers_.copy() for k, model in models.items()}
    list(score(features, models))
    np.testing.assert_array_equal(features, before[0])
    for k, model in models.items():
        np.testing.assert_array_equal(model.cluster_centers_, before[1][k])


def test_a_model_without_labels_gets_the_same_scores(features):
    models = sweep(features, [2, 3])
    with_labels = list(score(features, models))
    for model in models.values():
        del model.labels_
    assert list(score(features, models)) == with_labels


def test_as_many_clusters_as_customers_are_rejected():
    features = np.arange(4.0).reshape(-1, 1)
    with pytest.raises(DataError, match="k = 4 for 4 customers leaves nothing to compare"):
        next(score(features, sweep(features, [3, 4])))
