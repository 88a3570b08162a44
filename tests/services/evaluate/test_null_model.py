import numpy as np
import pytest
from diptest import diptest
from scipy.stats import ks_2samp, spearmanr

from services.evaluate.null_model import draw_customers, find_end_atoms, fit_null_model, spread_ties


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw(features, seed=1):
    rng = np.random.default_rng(seed)
    return draw_customers(fit_null_model(spread_ties(features, rng)), rng)


def with_zeros(values, rng, share=0.3):
    return np.where(rng.random(values.shape) < share, 0, values)


def atoms(column):
    return fit_null_model(column[:, None]).margins[0].atoms.tolist()


def test_a_margin_with_one_mode_is_kept(rng):
    amounts = rng.lognormal(6, 1, (5000, 1))
    assert ks_2samp(amounts[:, 0], draw(amounts)[:, 0]).statistic < 0.03


def test_a_margin_with_two_modes_gets_one(rng):
    two_modes = np.concatenate([rng.normal(0, 1, 2500), rng.normal(6, 1, 2500)])
    assert diptest(two_modes)[1] < 0.01
    assert diptest(draw(two_modes[:, None])[:, 0])[1] > 0.2


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.8])
def test_rank_correlations_are_kept(rng, correlation):
    features = np.exp(rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], 5000))
    assert spearmanr(draw(features)).statistic == pytest.approx(spearmanr(features).statistic, abs=0.04)


def test_correlations_between_three_features_are_kept(rng):
    features = rng.multivariate_normal(np.zeros(3), [[1, 0.7, -0.4], [0.7, 1, 0.1], [-0.4, 0.1, 1]], 5000)
    np.testing.assert_allclose(np.corrcoef(draw(features).T), np.corrcoef(features.T), atol=0.05)


def test_the_correlation_of_positive_amounts_is_kept_although_zeros_hide_it(rng):
    amounts = with_zeros(np.exp(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 5000)), rng)
    drawn = draw(amounts)
    positive, drawn_positive = amounts[(amounts > 0).all(axis=1)], drawn[(drawn > 0).all(axis=1)]
    assert spearmanr(drawn_positive).statistic == pytest.approx(spearmanr(positive).statistic, abs=0.04)


def test_zeros_and_their_combinations_are_as_frequent_as_in_the_data(rng):
    amounts = rng.lognormal(6, 1, (5000, 2))
    amounts[rng.random(5000) < 0.3] = 0  # both features at once
    drawn = draw(amounts)
    assert (drawn == 0).all(axis=1).mean() == pytest.approx((amounts == 0).all(axis=1).mean(), abs=0.03)
    assert ((drawn == 0).sum(axis=1) != 1).all()


def test_customers_with_zeros_differ_in_the_other_features_as_in_the_data(rng):
    balances = rng.normal(size=5000)
    purchases = np.where(balances + rng.normal(0, 0.5, 5000) < -0.5, 0, rng.lognormal(6, 1, 5000))
    data = np.column_stack([balances, purchases])
    drawn = draw(data)
    means = [table[table[:, 1] == 0, 0].mean() for table in (data, drawn)]
    assert means[0] < -0.8
    assert means[1] == pytest.approx(means[0], abs=0.15)


def test_a_value_that_many_customers_share_and_few_come_near_is_an_atom(rng):
    assert atoms(with_zeros(rng.lognormal(6, 1, 5000), rng)) == [0]
    assert atoms(with_zeros(50 + rng.random(5000), rng)) == [0]


def test_a_value_shared_by_fewer_than_one_in_twenty_is_no_atom(rng):
    assert atoms(with_zeros(rng.lognormal(6, 1, 5000), rng, share=0.03)) == []


def test_rounded_values_are_no_atoms(rng):
    assert atoms(np.round(rng.normal(size=5000) * 4) / 4) == []


def test_equal_values_are_spread_over_the_interval_rounded_to_them(rng):
    exact = rng.normal(size=(5000, 1))
    rounded = np.round(exact * 4) / 4
    spread = spread_ties(rounded, rng)
    assert len(np.unique(spread)) == 5000
    assert np.abs(spread - rounded).max() <= 0.125 + 1e-12 or (np.abs(rounded) > 2.5)[np.abs(spread - rounded) > 0.126].all()
    assert ks_2samp(spread[:, 0], exact[:, 0]).statistic < 0.03


def test_values_that_occur_once_and_atoms_are_not_spread(rng):
    amounts = with_zeros(rng.lognormal(6, 1, (1000, 2)), rng)
    np.testing.assert_array_equal(spread_ties(amounts, rng), amounts)


def test_zeros_below_all_other_values_are_at_the_end_and_those_in_the_middle_are_not(rng):
    data = np.column_stack([with_zeros(rng.lognormal(6, 1, 2000), rng), with_zeros(rng.normal(size=2000), rng)])
    found = find_end_atoms(data, fit_null_model(data))
    np.testing.assert_array_equal(found, np.column_stack([data[:, 0] == 0, np.zeros(2000)]))


def test_a_feature_with_one_value_is_not_changed(rng):
    features = np.column_stack([rng.normal(size=500), np.full(500, 7.0)])
    assert (draw(features)[:, 1] == 7).all()


def test_a_draw_depends_only_on_its_seed(rng):
    features = rng.normal(size=(200, 2))
    np.testing.assert_array_equal(draw(features, seed=1), draw(features, seed=1))
    assert not np.array_equal(draw(features, seed=1), draw(features, seed=2))
