"""The lab's figures, on the lab's own data; its SSE are listed in a README beside it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from services.evaluate.elbow import find_elbow
from services.evaluate.labels import label_customers, read_new_customers
from services.train.sampled_kmeans import KMeansParameters
from services.train.sweep import sweep
from services.transform.features import fit_preparation

FEATURES = ("BALANCE", "PURCHASES", "CREDIT_LIMIT")
K_VALUES = range(2, 11)


@pytest.fixture(scope="module")
def lab(lab_data: Path) -> Path:
    return lab_data


@pytest.fixture(scope="module")
def preparation_and_features(lab):
    customers = pd.read_csv(lab / "file.csv").drop_duplicates("CUST_ID", keep="last", ignore_index=True)
    preparation = fit_preparation(customers, FEATURES)
    return preparation, preparation.transform(customers[preparation.fits(customers)])


@pytest.fixture(scope="module")
def models(preparation_and_features) -> dict[int, KMeans]:
    fits = sweep([preparation_and_features[1]], K_VALUES, KMeansParameters(n_init=10, max_iter=300, random_state=7))
    return {fit.k: fit.model for fit in fits}


def test_the_sums_of_squares_are_those_of_the_lab(lab, models):
    readme = lab.parent / "README.md"
    if not readme.is_file():
        pytest.skip(f"the lab's figures are not here: {readme.name} beside its folder has them")
    figures = {int(k): float(sse) for k, sse in re.findall(r"^\| (\d+) \| ([\d.]+) \|$", readme.read_text(), re.MULTILINE)}
    assert list(figures) == list(K_VALUES)
    for k, sse in figures.items():
        assert models[k].inertia_ == pytest.approx(sse, rel=1e-9)


def test_the_elbow_is_that_of_the_lab(models):
    assert find_elbow(list(models), [model.inertia_ for model in models.values()]) == 5


def test_the_first_test_row_has_label_6_and_a_credit_limit_never_seen(lab, preparation_and_features, models):
    preparation, _ = preparation_and_features
    first = label_customers(read_new_customers(lab / "test.csv", preparation), preparation, models[10])[0]
    assert (first.label, first.outside_training_range) == (6, ("CREDIT_LIMIT",))


def test_the_features_are_those_of_the_lab(lab, preparation_and_features):
    raw = pd.read_csv(lab / "file.csv")[list(FEATURES)].dropna()
    by_hand = (raw - raw.mean()) / raw.std(ddof=0)
    np.testing.assert_allclose(preparation_and_features[1], by_hand, rtol=1e-9, atol=1e-12)
