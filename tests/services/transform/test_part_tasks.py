"""A preparation fitted to parts equals the one fitted to the whole table."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from services.transform.features import PreparationOptions, fit_preparation, fit_preparation_to_parts
from stagekit.errors import DataError
from stagekit.workers.worker_pool import InMemoryParts

FEATURES = ("BALANCE", "PURCHASES")


@pytest.fixture
def table() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    frame = pd.DataFrame({"BALANCE": draw.lognormal(6, 2, 400), "PURCHASES": 1e6 + draw.normal(0, 0.1, 400)})
    frame.loc[::17, "BALANCE"] = np.nan
    frame["REGION"] = pd.Series(["north", "south", "east"] * 133 + ["west"], dtype="str")
    frame.insert(0, "CUST_ID", pd.Series([f"C{row}" for row in range(400)], dtype="str"))
    return frame


def parts_of(table: pd.DataFrame, *ends: int):
    cuts = [0, *ends, len(table)]
    return InMemoryParts([table[first:last].reset_index(drop=True) for first, last in pairwise(cuts)])


@pytest.mark.parametrize("ends", [(200,), (1, 2, 399), (0, 100, 100, 300)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"outliers": "clip", "outlier_fence": 1.0},
        {"outliers": "drop", "outlier_fence": 1.0},
        {"log_columns": ("BALANCE",), "outliers": "clip", "group_column": "REGION", "min_group_size": 100},
    ],
)
def test_the_result_does_not_depend_on_the_parts(table, ends, options):
    whole = fit_preparation(table, FEATURES, **options)
    parts = fit_preparation_to_parts(parts_of(table, *ends), FEATURES, PreparationOptions(**options))
    assert parts.fences == whole.fences
    assert parts.training_range == whole.training_range
    assert list(parts.group_pipelines) == list(whole.group_pipelines)
    fits = whole.fits(table)
    assert parts.fits(table).equals(fits)
    np.testing.assert_allclose(parts.transform(table[fits]), whole.transform(table[fits]), rtol=1e-7, atol=1e-7)


def test_variances_are_accurate_beside_large_means(table):
    scaler = fit_preparation_to_parts(parts_of(table, 150, 250), FEATURES, PreparationOptions()).pipeline[-1]
    values = table.dropna()["PURCHASES"] - 1e6
    assert np.sqrt(scaler.var_[1]) == pytest.approx(values.std(ddof=0), rel=1e-6)
    assert scaler.n_samples_seen_ == len(values)


def test_size_and_variance_of_a_group_are_those_over_all_parts(table):
    table.loc[table["REGION"] == "south", "PURCHASES"] = 5.0
    # One value in the first part, several in the table.
    table.loc[table["REGION"] == "east", "PURCHASES"] = [1.0] * 60 + [2.0] * 73
    options = PreparationOptions(group_column="REGION", min_group_size=110)
    preparation = fit_preparation_to_parts(parts_of(table, 100), FEATURES, options)
    assert set(preparation.group_pipelines) == {"north", "east"}


def test_a_negative_number_is_reported_with_its_customer_in_any_part(table):
    table.loc[[250, 300], "BALANCE"] = -5.0
    options = PreparationOptions(log_columns=("BALANCE",))
    with pytest.raises(DataError, match=r"customer C250: BALANCE is -5.*\(2 of 400 customers have one\)"):
        fit_preparation_to_parts(parts_of(table, 200), FEATURES, options)
    with pytest.raises(DataError, match=r"customer 251: BALANCE is -5"):
        fit_preparation_to_parts(parts_of(table.drop(columns="CUST_ID"), 200), FEATURES, options)
