"""Groups of a column that are standardised separately."""

import dataclasses
import io
import pickle

import numpy as np
import pandas as pd
import pytest

from services.contract.artifacts import PICKLE
from services.contract.preparation import group_keys
from services.transform.features import fit_preparation


@pytest.fixture
def table() -> pd.DataFrame:
    """Two regions that differ ten-fold, one with three customers, and one customer without a region."""
    rng = np.random.default_rng(0)
    regions = ["north"] * 40 + ["south"] * 40 + ["isle"] * 3 + [None]
    spread = np.repeat([1.0, 10.0, 1.0], [40, 40, 4])
    return pd.DataFrame(
        {
            "REGION": pd.Series(regions, dtype="str"),
            "BALANCE": spread * rng.normal(5, 1, 84),
            "PURCHASES": spread * rng.normal(9, 2, 84),
        }
    ).sample(frac=1, random_state=0, ignore_index=True)


@pytest.fixture
def preparation(table):
    return fit_preparation(table, ("BALANCE", "PURCHASES"), group_column="REGION", min_group_size=30)


@pytest.mark.parametrize("region", ["north", "south"])
def test_a_large_group_has_mean_0_and_deviation_1(table, preparation, region):
    features = preparation.transform(table)[table["REGION"] == region]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(features.std(axis=0), 1)


def test_a_small_group_and_a_customer_without_one_are_standardised_like_all_together(table, preparation):
    others = table[~table["REGION"].isin(["north", "south"])]
    together = fit_preparation(table, ("BALANCE", "PURCHASES"))
    assert len(others) == 4
    np.testing.assert_array_equal(preparation.transform(others), together.transform(others))


def test_a_group_that_is_unknown_from_training_is_standardised_like_all_together(table, preparation):
    newcomers = table.assign(REGION="overseas")
    together = fit_preparation(table, ("BALANCE", "PURCHASES"))
    np.testing.assert_array_equal(preparation.transform(newcomers), together.transform(newcomers))


def test_a_group_is_large_enough_with_the_minimum_number_of_customers(table):
    def groups(min_group_size):
        return set(fit_preparation(table, ("BALANCE",), group_column="REGION", min_group_size=min_group_size).group_pipelines)

    assert groups(3) == {"north", "south", "isle"}
    assert groups(4) == {"north", "south"}
    assert groups(41) == set()


def test_only_customers_who_are_kept_make_a_group_large(table):
    table.loc[table["REGION"] == "north", "BALANCE"] = np.nan
    assert set(fit_preparation(table, ("BALANCE",), group_column="REGION").group_pipelines) == {"south"}


def test_a_group_in_which_a_feature_has_one_value_is_standardised_like_all_together(table):
    table.loc[table["REGION"] == "north", "BALANCE"] = 0.1
    assert set(fit_preparation(table, ("BALANCE", "PURCHASES"), group_column="REGION").group_pipelines) == {"south"}


def test_a_column_of_numbers_makes_groups_too(table):
    table["TENURE"] = np.where(table["REGION"] == "north", 6.0, 12.0)
    preparation = fit_preparation(table, ("BALANCE",), group_column="TENURE")
    short = table["TENURE"] == 6
    assert preparation.transform(table)[short].mean() == pytest.approx(0)
    assert preparation.columns == ("BALANCE", "TENURE")


def test_logarithm_and_fence_hold_within_groups_as_well(table):
    preparation = fit_preparation(
        table, ("BALANCE", "PURCHASES"), log_columns=["BALANCE"], outliers="clip", outlier_fence=0.5, group_column="REGION"
    )
    south = table[table["REGION"] == "south"]
    low, high = preparation.fences["BALANCE"]
    shaped = np.log1p(south["BALANCE"].clip(low, high))
    np.testing.assert_allclose(preparation.transform(south)[:, 0], (shaped - shaped.mean()) / shaped.std(ddof=0))


def test_a_customer_is_prepared_the_same_alone_and_among_others(table, preparation):
    among_others = preparation.transform(table)
    for row in (0, 17, 83):
        np.testing.assert_array_equal(preparation.transform(table.iloc[[row]])[0], among_others[row])


@pytest.mark.parametrize(
    "spelling",
    [["1", "2", "3"], ["1.0", "2.0", "3.0"], ["01", "02", "03"], [" 1", "2 ", "3.00"], [1.0, 2.0, 3.0], [1, 2, 3]],
)
def test_groups_that_are_numbers_compare_as_numbers_whatever_their_spelling(table, spelling):
    regions = np.arange(84) % 3
    trained = fit_preparation(
        table.assign(REGION=np.array(["1", "2", "3"])[regions]), ("BALANCE",), group_column="REGION", min_group_size=5
    )
    again = table.assign(REGION=pd.Series([spelling[region] for region in regions]))
    np.testing.assert_array_equal(
        trained.transform(again), trained.transform(table.assign(REGION=np.array(["1", "2", "3"])[regions]))
    )
    assert trained.count_groups(again) == (0, 0)


def test_text_that_is_no_plain_decimal_number_compares_as_text():
    texts = ["1E5", "1e5", "100000", "0x1", "1_0", "½", "north", "North", "-", "."]
    assert group_keys(pd.Series(texts, dtype="str")).tolist() == texts


def test_numbers_of_many_digits_remain_distinct():
    assert group_keys(pd.Series(["12345678901234567890", "12345678901234567891"])).nunique() == 2


@pytest.mark.parametrize(
    "keys", [{6.0: "short", 12.0: "long"}, {"6.0": "short", "12": "long"}, {"6": "other", "6.0": "x", "12": "long"}]
)
def test_a_preparation_with_groups_keyed_by_value_gives_the_same_results(table, keys):
    table["TENURE"] = np.where(table["REGION"] == "north", 6.0, 12.0)
    preparation = fit_preparation(table, ("BALANCE",), group_column="TENURE")
    pipelines = {"short": preparation.group_pipelines["6"], "long": preparation.group_pipelines["12"]}
    pipelines |= {"other": pipelines["short"], "x": pipelines["long"]}
    older = dataclasses.replace(preparation, group_pipelines={key: pipelines[name] for key, name in keys.items()})
    del older.__dict__["pooled_groups"]
    older = PICKLE.load(io.BytesIO(pickle.dumps(older)), "segmenter.pkl")
    for tenure in (table["TENURE"], table["TENURE"].astype(int).astype("str"), table["TENURE"].astype("str")):
        customers = table.assign(TENURE=tenure)
        np.testing.assert_array_equal(older.transform(customers), preparation.transform(table))
        assert older.count_groups(customers) == (0, 0)


def test_customers_without_a_group_and_in_an_unknown_one_are_counted(table, preparation):
    assert preparation.pooled_groups == ("isle",)
    assert preparation.count_groups(table) == (1, 0)
    assert preparation.count_groups(table.replace({"REGION": {"north": "North", "south": " "}})) == (41, 40)
    assert fit_preparation(table, ("BALANCE",)).count_groups(table) == (0, 0)


def test_a_customer_who_does_not_fit_is_not_counted_as_one_without_a_group(table, preparation):
    assert preparation.count_groups(table.assign(BALANCE=np.nan)) == (0, 0)
