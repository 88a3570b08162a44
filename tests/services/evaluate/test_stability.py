import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from services.evaluate.stability import REFINEMENTS, START_CUSTOMERS, STARTS, bootstrap, find_ari, find_jaccard


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


def test_real_groups_come_back_and_pieces_of_noise_do_not(groups, noise):
    real = bootstrap(groups, cluster(groups, 3), 3, resamples=15, seed=7)
    assert min(real.jaccard) > 0.95
    assert real.ari > 0.95
    unreal = bootstrap(noise, cluster(noise, 6), 6, resamples=15, seed=7)
    assert max(unreal.jaccard) < 0.75
    assert unreal.ari < 0.75


def test_one_group_cut_in_two_is_less_stable_than_the_groups_left_whole(groups):
    labels = cluster(groups, 4)
    stability = bootstrap(groups, labels, 4, resamples=15, seed=7)
    sizes = np.bincount(labels)
    halves, whole = np.array(stability.jaccard)[sizes < 150], np.array(stability.jaccard)[sizes >= 150]
    assert (len(halves), len(whole)) == (2, 2)
    assert halves.max() < whole.min()


def literally(features, labels, k, *, resamples, seed):
    """The same with every row as often as it was drawn, and groups of customers as sets."""
    generator = np.random.default_rng(seed)
    starts = []
    for _ in range(STARTS):
        drawn = features[generator.integers(len(features), size=min(len(features), START_CUSTOMERS))]
        starts.append(KMeans(k, n_init=1, random_state=int(generator.integers(2**31))).fit(drawn))
    jaccard, ari = [], []
    for _ in range(resamples):
        rows = generator.integers(len(features), size=len(features))
        best = max(starts, key=lambda start: start.score(features[rows]))
        again = KMeans(k, init=best.cluster_centers_, n_init=1, max_iter=REFINEMENTS, tol=0).fit(features[rows])
        found = dict(zip(rows.tolist(), again.labels_.tolist(), strict=True))
        old = [{row for row in found if labels[row] == one} for one in range(k)]
        new = [{row for row in found if found[row] == one} for one in range(k)]
        jaccard.append([max(len(a & b) / len(a | b) for b in new) for a in old])
        ari.append(adjusted_rand_score([labels[row] for row in found], list(found.values())))
    return np.mean(jaccard, axis=0), np.mean(ari)


def test_who_is_drawn_twice_counts_twice_and_who_is_not_drawn_does_not_count(noise):
    labels = cluster(noise[:300], 5)
    found = bootstrap(noise[:300], labels, 5, resamples=4, seed=3)
    jaccard, ari = literally(noise[:300], labels, 5, resamples=4, seed=3)
    np.testing.assert_allclose(found.jaccard, jaccard)
    assert found.ari == pytest.approx(ari)


def test_labels_that_say_nothing_about_the_customers_are_found_out(groups):
    at_random = np.random.default_rng(1).integers(3, size=len(groups)).astype(np.int32)
    stability = bootstrap(groups, at_random, 3, resamples=5, seed=7)
    assert max(stability.jaccard) < 0.3
    assert stability.ari == pytest.approx(0, abs=0.05)


def test_the_same_seed_gives_the_same_stability(groups):
    labels = cluster(groups, 4)
    first, again, other = (bootstrap(groups, labels, 4, resamples=5, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_resamples_too_small_to_be_clustered_bring_nothing_back():
    features = np.arange(6.0).reshape(-1, 1)
    stability = bootstrap(features, np.arange(6, dtype=np.int32), 6, resamples=5, seed=7)
    assert stability == ((0.0,) * 6, 0.0)


@pytest.mark.filterwarnings("error")
def test_many_equal_customers_are_no_trouble():
    features = np.repeat([[0.0], [1.0], [2.0]], [50, 50, 1], axis=0)
    stability = bootstrap(features, cluster(features, 3), 3, resamples=10, seed=7)
    assert all(0 <= value <= 1 for value in stability.jaccard)


def test_a_cluster_of_which_nobody_is_looked_at_counts_as_not_coming_back(groups):
    stability = bootstrap(groups, cluster(groups, 3), 4, resamples=5, seed=7)  # nobody has label 3
    assert stability.jaccard[3] == 0


def test_the_jaccard_similarity_is_that_with_the_most_similar_new_cluster():
    common = np.array([[6, 2], [0, 4], [0, 0]])
    np.testing.assert_allclose(find_jaccard(common), [6 / 8, 4 / 6, np.nan])


def test_the_adjusted_rand_index_is_that_of_scikit_learn(noise):
    labels, others = cluster(noise, 4), cluster(noise[:, :2], 4)
    common = np.bincount(labels * 4 + others).reshape(4, 4)
    assert find_ari(common) == pytest.approx(adjusted_rand_score(labels, others))


def test_a_grouping_agrees_with_itself_even_if_it_has_one_group_only():
    assert find_ari(np.array([[5, 0], [0, 0]])) == 1
    assert find_ari(np.array([[5, 0], [0, 3]])) == 1
