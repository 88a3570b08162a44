import numpy as np
import pytest

from services.evaluate.sample import draw_sample
from stagekit.workers.worker_pool import worker_pool


def draw(parts, max_customers, seed=7):
    with worker_pool() as pool:
        return draw_sample(pool.persist(np.asarray, parts), max_customers, seed=seed)


TABLE = np.arange(1_000.0).reshape(-1, 1)


def test_a_sample_contains_no_customer_twice_and_keeps_their_order():
    sample = draw(np.split(TABLE, [300]), 100)
    assert (len(sample.features), sample.n_customers) == (100, 1_000)
    assert (np.diff(sample.features[:, 0]) > 0).all()


def test_the_sample_depends_on_the_seed_but_not_on_the_division_into_parts():
    samples = [draw(np.split(TABLE, cuts), 100).features for cuts in ([], [1, 500, 500], list(range(50, 1_000, 50)))]
    for other in samples[1:]:
        np.testing.assert_array_equal(other, samples[0])
    assert not np.array_equal(draw([TABLE], 100, seed=8).features, samples[0])


def test_customers_of_all_parts_have_the_same_inclusion_probability():
    shares = [np.mean(draw(np.split(TABLE, [200]), 500, seed).features < 200) for seed in range(20)]
    assert np.mean(shares) == pytest.approx(0.2, abs=0.02)


def test_all_customers_are_taken_if_there_are_no_more():
    sample = draw(np.split(TABLE, [300]), 1_000)
    assert sample.n_customers == 1_000
    np.testing.assert_array_equal(sample.features, TABLE)
