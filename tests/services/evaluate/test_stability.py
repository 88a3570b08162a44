import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from services.evaluate import stability as stability_module
from services.evaluate.stability import (
    RESAMPLE_INITIALISATIONS,
    adjusted_rand_index,
    bootstrap_stability,
    draw_distinct,
    max_jaccard,
)


def cluster(features, k):
    return KMeans(k, n_init=10, random_state=7).fit_predict(features)


@pytest.fixture
def groups():
    """Three groups of 200, far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 0.3, (200, 2)) for centre in ([0, 0], [5, 0], [0, 5])])


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(2000, 3))


def test_real_groups_are_stable_and_divisions_of_noise_are_not(groups, noise):
    real = bootstrap_stability(groups, cluster(groups, 3), 3, n_resamples=15, seed=7)
    assert min(real.jaccard) > 0.95
    assert real.ari > 0.95
    unreal = bootstrap_stability(noise, cluster(noise, 6), 6, n_resamples=15, seed=7)
    assert min(unreal.jaccard) < 0.75
    assert unreal.ari < 0.75


def test_one_group_cut_in_two_is_less_stable_than_the_groups_left_whole(groups):
    labels = cluster(groups, 4)
    stability = bootstrap_stability(groups, labels, 4, n_resamples=15, seed=7)
    sizes = np.bincount(labels)
    halves, whole = np.array(stability.jaccard)[sizes < 150], np.array(stability.jaccard)[sizes >= 150]
    assert (len(halves), len(whole)) == (2, 2)
    assert halves.max() < whole.min()


def literally(features, labels, k, *, n_resamples, seed):
    """The same as clusterboot writes it: every resample's distinct customers, and clusters as sets."""
    jaccard, ari = [], []
    for number in range(n_resamples):
        generator = np.random.default_rng([seed, number])
        distinct = sorted(set(generator.integers(len(features), size=len(features)).tolist()))
        random_state = int(generator.integers(2**32))
        resample_labels = KMeans(k, n_init=RESAMPLE_INITIALISATIONS, random_state=random_state).fit_predict(features[distinct])
        old = [{row for row in distinct if labels[row] == one} for one in range(k)]
        new = [{row for row, label in zip(distinct, resample_labels, strict=True) if label == one} for one in range(k)]
        jaccard.append([max(len(a & b) / len(a | b) for b in new) for a in old])
        ari.append(adjusted_rand_score([labels[row] for row in distinct], resample_labels))
    return np.array(jaccard), np.array(ari)


def test_each_resample_is_clustered_independently_and_compared_as_clusterboot_does(noise):
    labels = cluster(noise[:300], 5)
    stability = bootstrap_stability(noise[:300], labels, 5, n_resamples=4, seed=3)
    jaccard, ari = literally(noise[:300], labels, 5, n_resamples=4, seed=3)
    np.testing.assert_allclose(stability.jaccard, jaccard.mean(axis=0))
    np.testing.assert_allclose(stability.jaccard_se, jaccard.std(axis=0, ddof=1) / 2)
    assert stability.ari == pytest.approx(ari.mean())
    assert stability.ari_se == pytest.approx(ari.std(ddof=1) / 2)


def test_a_resample_of_a_large_table_has_a_maximum_size(monkeypatch):
    monkeypatch.setattr(stability_module, "MAX_DRAWN", 30)
    distinct = draw_distinct(1_000, np.random.default_rng(0))
    assert len(distinct) == pytest.approx(30, abs=3)
    assert distinct.max() > 800  # from all of it
    assert len(draw_distinct(30, np.random.default_rng(0))) == pytest.approx(30 * (1 - np.exp(-1)), abs=5)


def test_a_resample_too_large_for_many_starts_is_clustered_from_a_weighted_sample_of_it(groups, monkeypatch):
    monkeypatch.setattr(stability_module, "MAX_INITIALISATION_CUSTOMERS", 60)
    features = np.concatenate([groups, [[40.0, 40.0]] * 4])  # a uniform sample of 60 would mostly miss the last ones
    stability = bootstrap_stability(features, cluster(features, 4), 4, n_resamples=10, seed=7)
    assert min(stability.jaccard) > 0.95


def test_random_labels_are_unstable(groups):
    at_random = np.random.default_rng(1).integers(3, size=len(groups)).astype(np.int32)
    stability = bootstrap_stability(groups, at_random, 3, n_resamples=5, seed=7)
    assert max(stability.jaccard) < 0.3
    assert stability.ari == pytest.approx(0, abs=0.05)


def test_the_same_seed_gives_the_same_stability(groups):
    labels = cluster(groups, 4)
    first, again, other = (bootstrap_stability(groups, labels, 4, n_resamples=5, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_resamples_too_small_to_be_clustered_have_stability_0():
    features = np.arange(20.0).reshape(-1, 1)
    stability = bootstrap_stability(features, np.arange(20, dtype=np.int32), 20, n_resamples=5, seed=7)
    assert stability == ((0.0,) * 20, (0.0,) * 20, 0.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_many_equal_customers_are_accepted():
    features = np.repeat([[0.0], [1.0], [2.0]], [50, 50, 1], axis=0)
    stability = bootstrap_stability(features, cluster(features, 3), 3, n_resamples=10, seed=7)
    assert all(0 <= value <= 1 for value in stability.jaccard)


def test_a_cluster_without_sampled_customers_has_stability_0(groups):
    stability = bootstrap_stability(groups, cluster(groups, 3), 4, n_resamples=5, seed=7)  # no customer has label 3
    assert stability.jaccard[3] == 0


def test_the_jaccard_similarity_is_that_with_the_most_similar_new_cluster():
    common = np.array([[6, 2], [0, 4], [0, 0]])
    np.testing.assert_allclose(max_jaccard(common), [6 / 8, 4 / 6, 0])


def test_the_adjusted_rand_index_is_that_of_scikit_learn(noise):
    labels, others = cluster(noise, 4), cluster(noise[:, :2], 4)
    common = np.bincount(labels * 4 + others).reshape(4, 4)
    assert adjusted_rand_index(common) == pytest.approx(adjusted_rand_score(labels, others))


def test_a_grouping_agrees_with_itself_even_if_it_has_one_group_only():
    assert adjusted_rand_index(np.array([[5, 0], [0, 0]])) == 1
    assert adjusted_rand_index(np.array([[5, 0], [0, 3]])) == 1
