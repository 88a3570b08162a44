import numpy as np
import pytest
from diptest import dipstat

from services.contract.results import FeatureDip, NullComparison
from services.evaluate import structure
from services.evaluate.structure import MIN_TUBE_CUSTOMERS, STRUCTURE_CUSTOMERS, assess_structure, classify, measure_separation
from tests.conftest import IS_CI


def groups(*centres, size=300, seed=0):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(centre, 1, (size, len(centre))) for centre in centres])
    return (values - values.mean(axis=0)) / values.std(axis=0)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Fewer draws than the stage makes, except in the CI: the verdicts are the same."""
    if not IS_CI:
        monkeypatch.setattr(structure, "N_DRAWS", 19)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_groups_with_few_customers_between_them_are_structure(monkeypatch):
    monkeypatch.undo()  # all draws
    found = assess_structure(groups([0, 0], [8, 0], [4, 7]), 3, seed=7)
    assert found.is_structured
    assert found.separation.p_value == 1 / 50
    assert found.separation.effect > 4
    assert found.silhouette.effect > 0.1


@pytest.mark.parametrize("k", [2, 3, 6])
def test_divisions_of_one_cloud_are_no_structure(k):
    found = assess_structure(groups([0, 0, 0], size=1000), k, seed=7)
    assert not found.is_structured
    assert found.separation.effect < 1.4


def test_groups_that_differ_in_one_feature_of_three_are_structure_for_more_segments_than_groups():
    features = groups([0, 0, 0], [7, 0, 0], size=500)
    assert assess_structure(features, 5, seed=7).is_structured


def test_a_distant_group_of_one_in_twenty_is_structure(rng):
    features = rng.normal(size=(2000, 3))
    features[:100] = 5 + features[:100] / 2
    assert assess_structure(features, 4, seed=7).is_structured


def test_customers_without_purchases_are_no_separate_group(rng):
    balances, purchases = rng.lognormal(0, 0.5, 2000), 3 + rng.lognormal(0, 0.5, 2000)
    purchases[rng.random(2000) < 0.4] = 0
    assert not assess_structure(np.column_stack([balances, purchases]), 3, seed=7).is_structured


def test_groups_are_found_although_many_customers_have_no_purchases(rng):
    features = np.exp(groups([0, 0], [3, 7], [6, 0], size=700) / 2)
    features[rng.random(features.shape) < 0.2] = 0
    assert assess_structure(features, 5, seed=7).is_structured


def test_skewed_and_correlated_amounts_are_no_structure(rng):
    amounts = np.exp(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 2000))
    assert not assess_structure(amounts, 4, seed=7).is_structured


def test_the_null_model_is_summarised_by_its_draws(monkeypatch):
    monkeypatch.undo()  # all draws
    found = assess_structure(groups([0, 0], size=500), 3, seed=7)
    for comparison in (found.separation, found.silhouette):
        draws = np.array(comparison.null_draws)
        assert len(draws) == 49
        assert comparison.null_mean == pytest.approx(draws.mean())
        assert comparison.null_sd == pytest.approx(draws.std(ddof=1))
        assert comparison.p_value == (1 + (draws >= comparison.observed).sum()) / 50
    assert found.separation.effect == pytest.approx(found.separation.observed / found.separation.null_mean)
    assert found.silhouette.effect == pytest.approx(found.silhouette.observed - found.silhouette.null_mean)


def test_the_same_seed_gives_the_same_result_and_the_features_are_not_modified(monkeypatch):
    monkeypatch.setattr(structure, "N_DRAWS", 2)
    features = groups([0, 0], size=300)
    before = features.copy()
    assert assess_structure(features, 3, seed=7) == assess_structure(features, 3, seed=7)
    assert assess_structure(features, 3, seed=7) != assess_structure(features, 3, seed=8)
    np.testing.assert_array_equal(features, before)


def test_many_customers_are_sampled(monkeypatch):
    monkeypatch.setattr(structure, "N_DRAWS", 2)
    features = np.random.default_rng(0).normal(size=(STRUCTURE_CUSTOMERS + 1, 2))
    found = assess_structure(features, 2, seed=7)
    assert (found.k, found.n_customers) == (2, STRUCTURE_CUSTOMERS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "features",
    [
        np.arange(8.0).reshape(-1, 1),
        np.zeros((50, 2)),
        np.repeat([[0.0], [1.0], [2.0]], [50, 50, 1], axis=0),
        np.column_stack([np.arange(30.0), np.zeros(30)]),
    ],
    ids=["few customers", "all equal", "fewer distinct customers than clusters", "a constant feature"],
)
def test_degenerate_tables_have_no_structure(features):
    assert not assess_structure(features, 4, seed=7).is_structured


def test_the_separation_is_the_dip_in_a_tube_between_two_centroids_unless_a_smaller_one_leads_around_it():
    features = groups([0, 0], [5, 1], [1, 6], size=40, seed=3)
    labels = np.repeat([0, 1, 2], 40)
    centroids = np.array([features[labels == label].mean(axis=0) for label in range(3)])
    dips = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        direction = (centroids[j] - centroids[i]) / np.linalg.norm(centroids[j] - centroids[i])
        position = (features - centroids[i]) @ direction
        distance = np.linalg.norm(features - centroids[i] - position[:, None] * direction, axis=1)
        radius = np.sqrt(np.quantile(distance[(labels == i) | (labels == j)] ** 2, 0.5))
        tube = position[distance <= radius + 1e-9]
        dips.append(dipstat(tube) * np.sqrt(len(tube)))
    assert measure_separation(features, centroids, labels) == pytest.approx(
        sorted(dips)[1]
    )  # the largest of three closes a circle


def test_in_one_feature_all_customers_are_in_the_tube(rng):
    features = np.concatenate([rng.normal(0, 1, 50), rng.normal(9, 1, 50)])[:, None]
    labels = np.repeat([0, 1], 50)
    centroids = np.array([features[:50].mean(axis=0), features[50:].mean(axis=0)])
    assert measure_separation(features, centroids, labels) == pytest.approx(dipstat(features[:, 0]) * 10)


def test_a_tube_with_few_customers_has_no_gap():
    half = MIN_TUBE_CUSTOMERS // 2
    features = np.concatenate([np.linspace(0, 1, half - 1), np.linspace(9, 10, half)])[:, None]
    labels = np.repeat([0, 1], [half - 1, half])
    assert measure_separation(features, np.array([[0.5], [9.5]]), labels) == 0


def test_the_ends_of_a_bent_cloud_are_no_separate_groups(rng):
    along = rng.normal(size=1000)
    bent = np.column_stack([along, along**2 + rng.normal(0, 0.5, 1000)])
    assert not assess_structure(bent, 4, seed=7).is_structured


def test_groups_in_one_feature_are_found_if_the_segments_cut_across_them(rng):
    features = rng.normal(size=(1500, 3))
    features[:, 0] += 6 * rng.integers(3, size=1500)
    found = assess_structure((features - features.mean(axis=0)) / features.std(axis=0), 5, seed=7)
    assert found.is_structured
    assert [feature.dip > 0.04 for feature in found.feature_dips] == [True, False, False]
    assert max(feature.null_mean for feature in found.feature_dips) < 0.01


@pytest.mark.parametrize(
    ("dip", "null_mean", "n_customers", "expected"),
    [
        (0.02, 0.0, 2000, True),
        (0.019, 0.0, 2000, False),
        (0.08, 0.0, 100, True),
        (0.079, 0.0, 100, False),  # such a dip is likely with so few customers
        (0.0301, 0.02, 2000, True),
        (0.03, 0.021, 2000, False),  # the values that many customers share explain it
    ],
)
def test_a_feature_has_groups_from_the_minimum_dip_on(dip, null_mean, n_customers, expected):
    assert structure._has_groups(FeatureDip(dip=dip, null_mean=null_mean), n_customers) == expected


@pytest.mark.parametrize(
    ("observed", "null_mean", "null_sd", "expected"),
    [
        (0.60, 0.30, 0.04, True),
        (0.59, 0.30, 0.04, False),  # no more than a dip of a single distribution
        (1.50, 1.00, 0.08, True),
        (1.49, 1.00, 0.08, False),  # not 1.5 times the null model's mean
        (1.60, 1.00, 0.10, True),
        (1.59, 1.00, 0.10, False),  # not 6 standard deviations above it
    ],
)
def test_a_gap_counts_from_a_scaled_dip_a_ratio_and_a_number_of_deviations_on(observed, null_mean, null_sd, expected):
    comparison = NullComparison(
        observed=observed, null_draws=(), null_mean=null_mean, null_sd=null_sd, p_value=0.02, effect=observed / null_mean
    )
    assert structure._is_separate(comparison) == expected


@pytest.mark.parametrize(
    ("is_structured", "jaccard", "expected"),
    [
        (True, (0.2, 0.9), "natural"),
        (False, (0.75, 0.9), "reproducible"),
        (False, (0.74, 0.9), "constructive"),
        (False, (None, 0.9), "constructive"),
        (True, (None, 0.9), "natural"),
    ],
)
def test_a_segmentation_is_classified_by_structure_first_and_stability_next(is_structured, jaccard, expected):
    assert classify(is_structured, jaccard) == expected
