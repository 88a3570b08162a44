"""The fitted preparation, as later stages use it."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest

from services.contract.artifacts import PICKLE
from services.transform.features import fit_preparation


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"BALANCE": rng.gamma(2, 100, 200), "PURCHASES": rng.gamma(1, 500, 200), "TENURE": [6.0, 12.0] * 100})


@pytest.fixture
def new_customers() -> pd.DataFrame:
    return pd.DataFrame(
        {"BALANCE": [100.0, -5.0, np.nan, 1e9], "PURCHASES": [300.0, 300.0, np.nan, 300.0], "TENURE": [6.0, 6.0, 6.0, np.nan]}
    )


def test_only_a_missing_feature_excludes_a_customer(table, new_customers):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"))
    assert preparation.fits(new_customers).tolist() == [True, True, False, True]
    assert preparation.complaints(new_customers) == ["", "", "no value for BALANCE; no value for PURCHASES", ""]


def test_a_negative_amount_fits_unless_its_logarithm_is_needed(table, new_customers):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"), log_columns=["BALANCE"])
    assert preparation.fits(new_customers).tolist() == [True, False, False, True]
    assert preparation.complaints(new_customers)[1] == "BALANCE is negative, which has no logarithm"


def test_a_new_customer_beyond_the_fence_is_excluded_if_outliers_are_dropped(table, new_customers):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"), outliers="drop")
    assert preparation.fits(new_customers).tolist() == [True, True, False, False]
    assert preparation.complaints(new_customers)[3].startswith("BALANCE is above the outlier fence of ")


def test_a_new_customer_below_the_fence_gets_the_reason(table):
    table["BALANCE"] += 1e6
    preparation = fit_preparation(table, ("BALANCE",), outliers="drop")
    assert preparation.complaints(pd.DataFrame({"BALANCE": [3.0]}))[0].startswith("BALANCE is below the outlier fence of ")


def test_a_new_customer_beyond_the_fence_is_clipped_if_outliers_are_clipped(table, new_customers):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"), outliers="clip")
    at_the_fence = new_customers.assign(BALANCE=preparation.fences["BALANCE"][1])
    far_beyond = new_customers.assign(BALANCE=1e9)
    fits = preparation.fits(far_beyond)
    np.testing.assert_array_equal(preparation.transform(far_beyond[fits]), preparation.transform(at_the_fence[fits]))


@pytest.mark.parametrize("outliers", ["keep", "clip", "drop"])
def test_a_customer_has_a_rejection_reason_exactly_if_it_cannot_be_transformed(table, new_customers, outliers):
    settings = {"outliers": outliers, "outlier_fence": 0.1, "log_columns": ["BALANCE"]}
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"), **settings)
    all_customers = pd.concat([table, new_customers], ignore_index=True)
    assert [not reason for reason in preparation.complaints(all_customers)] == preparation.fits(all_customers).tolist()


def test_values_beyond_anything_seen_in_training_are_flagged_feature_by_feature(table, new_customers):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"))
    outside = preparation.outside_training_range(new_customers)
    assert outside["BALANCE"].tolist() == [False, True, False, True]
    assert outside["PURCHASES"].tolist() == [False] * 4
    assert not preparation.outside_training_range(table).any(axis=None)


def test_features_make_the_same_pickle_whether_or_not_the_table_was_unpickled(table):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"))
    tables = [table, pickle.loads(pickle.dumps(table))]
    one, other = [pickle.dumps([preparation.transform(customers), preparation.transform(table)]) for customers in tables]
    assert one == other


def test_features_are_row_contiguous_for_k_means(table):
    assert fit_preparation(table, ("BALANCE", "PURCHASES")).transform(table).flags.c_contiguous


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_columns": ["BALANCE"]},
        {"outliers": "clip"},
        {"outliers": "drop"},
        {"group_column": "TENURE"},
        {"log_columns": ["BALANCE", "PURCHASES"], "outliers": "clip", "group_column": "TENURE"},
    ],
)
def test_a_preparation_passes_the_allow_list_and_loads_unchanged(table, settings):
    preparation = fit_preparation(table, ("BALANCE", "PURCHASES"), **settings)
    again = PICKLE.load(io.BytesIO(pickle.dumps(preparation, protocol=pickle.HIGHEST_PROTOCOL)), "features.pkl")
    fits = preparation.fits(table)
    np.testing.assert_array_equal(again.transform(table[fits]), preparation.transform(table[fits]))


def test_the_allow_list_names_no_scikit_learn_class_that_no_preparation_or_model_needs(table):
    preparation = fit_preparation(table, ("BALANCE",), log_columns=["BALANCE"], outliers="clip", group_column="TENURE")
    content = pickle.dumps(preparation, protocol=pickle.HIGHEST_PROTOCOL)
    unused = {
        f"{module}.{name}" for module, name in PICKLE.allowed if module.startswith("sklearn") and name.encode() not in content
    }
    assert unused == {"sklearn.cluster._kmeans.KMeans"}
