from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from services.contract.preparation import top_reasons
from services.transform.features import find_fence, fit_preparation, list_dropped, offset_row_numbers
from stagekit.errors import DataError, UsageError

FEATURES = ("BALANCE", "PURCHASES")


def customers(**columns) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    if "CUST_ID" not in frame:
        frame.insert(0, "CUST_ID", [f"C{row}" for row in range(1, len(frame) + 1)])
    return frame


@pytest.fixture
def table() -> pd.DataFrame:
    """Seven customers, of whom C4 has no BALANCE and C7 by far the largest PURCHASES."""
    return customers(BALANCE=[1.0, 2.0, 3.0, np.nan, 4.0, 5.0, 6.0], PURCHASES=[10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 1e6])


def test_without_options_it_is_the_standard_scaler_of_the_lab(table):
    preparation = fit_preparation(table, FEATURES)
    complete = table[preparation.fits(table)]
    assert list(complete["CUST_ID"]) == ["C1", "C2", "C3", "C5", "C6", "C7"]
    expected = StandardScaler().fit_transform(complete[list(FEATURES)])
    np.testing.assert_array_equal(preparation.transform(complete), expected)
    assert [name for name, _ in preparation.pipeline.steps] == ["scale"]


def test_features_have_the_order_of_feature_columns(table):
    complete = table.dropna()
    one_way = fit_preparation(complete, ("BALANCE", "PURCHASES"), log_columns=["PURCHASES"]).transform(complete)
    other_way = fit_preparation(complete, ("PURCHASES", "BALANCE"), log_columns=["PURCHASES"]).transform(complete)
    np.testing.assert_array_equal(one_way, other_way[:, ::-1])


def test_the_table_is_not_modified(table):
    before = table.copy()
    preparation = fit_preparation(table, FEATURES, log_columns=FEATURES, outliers="clip", group_column="CUST_ID")
    preparation.transform(table[preparation.fits(table)])
    list_dropped(table, preparation)
    pd.testing.assert_frame_equal(table, before)


def test_a_logarithm_is_taken_before_the_feature_is_standardised(table):
    complete = table.dropna()
    features = fit_preparation(complete, FEATURES, log_columns=["PURCHASES"]).transform(complete)
    logarithms = complete.assign(PURCHASES=np.log1p(complete["PURCHASES"]))[list(FEATURES)]
    np.testing.assert_allclose(features, StandardScaler().fit_transform(logarithms), rtol=1e-12)


def test_the_logarithm_of_a_negative_number_is_rejected_with_customer_column_and_value():
    table = customers(CUST_ID=["A", "B", "C"], BALANCE=[1.0, -12.5, -3.0])
    with pytest.raises(DataError, match=r"customer B: BALANCE is -12\.5.*2 of 3 customers.*leave BALANCE out of log_columns"):
        fit_preparation(table, ["BALANCE"], log_columns=["BALANCE"])


def test_a_fence_is_some_interquartile_ranges_from_the_quartiles():
    values = np.array([0.0, 10.0, 20.0, 30.0, 40.0])  # quartiles 10 and 30
    assert find_fence(values, 3.0) == (-50.0, 90.0)
    assert find_fence(values, 0.5) == (0.0, 40.0)


def test_the_fence_of_a_logarithm_is_found_among_logarithms_and_returned_in_the_units_of_the_table():
    fence = find_fence(np.expm1([0.0, 1.0, 2.0, 3.0, 4.0]), 3.0, is_log=True)
    assert fence == pytest.approx((np.expm1(-5), np.expm1(9)))


def test_a_feature_with_equal_quartiles_has_no_fence():
    assert find_fence(np.array([12.0] * 8 + [6.0, 7.0]), 3.0) is None


def test_clipping_keeps_the_customer_and_moves_the_value_to_the_fence(table):
    preparation = fit_preparation(table, FEATURES, outliers="clip")
    complete = table[preparation.fits(table)]
    assert "C7" in list(complete["CUST_ID"])
    clipped = complete[list(FEATURES)].clip(upper=[np.inf, preparation.fences["PURCHASES"][1]])
    np.testing.assert_allclose(preparation.transform(complete), StandardScaler().fit_transform(clipped), rtol=1e-12)


@pytest.mark.parametrize("outliers", ["clip", "drop"])
def test_a_feature_without_a_fence_is_unchanged_beside_one_that_has_one(table, outliers):
    table["TENURE"] = [12.0, 12.0, 12.0, 12.0, 12.0, 12.0, 6.0]
    preparation = fit_preparation(table, ("TENURE", "BALANCE"), outliers=outliers)
    assert list(preparation.fences) == ["BALANCE"]
    complete = table[preparation.fits(table)]
    expected = StandardScaler().fit_transform(complete[["TENURE", "BALANCE"]])
    np.testing.assert_allclose(preparation.transform(complete), expected, rtol=1e-12)


def test_clipping_precedes_the_logarithm(table):
    preparation = fit_preparation(table, FEATURES, outliers="clip", log_columns=["PURCHASES"], outlier_fence=0.5)
    complete = table[preparation.fits(table)]
    fence = preparation.fences["PURCHASES"]
    shaped = complete.assign(
        BALANCE=complete["BALANCE"].clip(*preparation.fences["BALANCE"]), PURCHASES=np.log1p(complete["PURCHASES"].clip(*fence))
    )
    np.testing.assert_allclose(
        preparation.transform(complete), StandardScaler().fit_transform(shaped[list(FEATURES)]), rtol=1e-12
    )


def test_with_dropping_only_customers_within_the_fences_are_fitted(table):
    preparation = fit_preparation(table, FEATURES, outliers="drop")
    kept = table[preparation.fits(table)]
    assert list(kept["CUST_ID"]) == ["C1", "C2", "C3", "C5", "C6"]
    np.testing.assert_array_equal(preparation.transform(kept), StandardScaler().fit_transform(kept[list(FEATURES)]))
    assert preparation.training_range["PURCHASES"] == (10.0, 60.0)


def test_every_dropped_customer_is_listed_with_the_reason(table):
    table.loc[7] = ["C8", np.nan, 2e6]
    preparation = fit_preparation(table, FEATURES, outliers="drop")
    dropped = list_dropped(table, preparation)
    high = f"PURCHASES is above the outlier fence of {preparation.fences['PURCHASES'][1]:,.6g}"
    assert dropped.to_dict("list") == {
        "CUST_ID": ["C4", "C7", "C8"],
        "reason": ["no value for BALANCE", high, f"no value for BALANCE; {high}"],
    }
    assert len(dropped) + preparation.fits(table).sum() == len(table)


def test_without_dropped_customers_the_list_has_only_its_header(table):
    complete = table.dropna()
    dropped = list_dropped(complete, fit_preparation(complete, FEATURES))
    assert dropped.to_csv(index=False, lineterminator="\n") == "CUST_ID,reason\n"


def test_formulas_in_ids_of_dropped_customers_are_escaped(table):
    table.loc[3, "CUST_ID"] = "=1+1"
    assert list_dropped(table, fit_preparation(table, FEATURES))["CUST_ID"].tolist() == ["'=1+1"]


def test_rare_reasons_are_counted_together():
    reasons = Counter(["a"] * 3 + ["b"] * 2 + ["c", "d"])
    assert top_reasons(reasons, max_reasons=3) == {"a": 3, "b": 2, "other reasons": 2}
    assert top_reasons(reasons, max_reasons=4) == {"a": 3, "b": 2, "c": 1, "d": 1}


def test_customers_without_an_id_are_listed_by_their_row():
    table = customers(BALANCE=[5.0, np.nan, 7.0, np.nan], PURCHASES=[1.0, 2.0, 3.0, 4.0]).drop(columns="CUST_ID")
    dropped = list_dropped(table, fit_preparation(table, FEATURES))
    assert dropped["CUST_ID"].tolist() == [2, 4]
    assert offset_row_numbers(1000, dropped)["CUST_ID"].tolist() == [1002, 1004]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_columns": ("BALANCE", "PURCHASE")}, "no column 'PURCHASE'; is 'PURCHASES' meant?"),
        ({"group_column": "REGION"}, "no column 'REGION'; there are CUST_ID, BALANCE, PURCHASES"),
        ({"feature_columns": ("BALANCE", "CUST_ID")}, "CUST_ID was read as text: run extract with the same feature_columns"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(table, settings, message):
    with pytest.raises(UsageError, match=message):
        fit_preparation(table, **{"feature_columns": FEATURES, **settings})


def test_a_table_without_a_complete_customer_is_rejected():
    table = customers(BALANCE=[1.0, np.nan], PURCHASES=[np.nan, 2.0])
    with pytest.raises(DataError, match="no customer has a value for each of BALANCE, PURCHASES"):
        fit_preparation(table, FEATURES)


def test_a_feature_with_only_one_value_is_rejected():
    table = customers(BALANCE=[1.0, 2.0], PURCHASES=[7.0, 7.0])
    with pytest.raises(DataError, match="PURCHASES is 7 for all 2 customers: leave it out of feature_columns"):
        fit_preparation(table, FEATURES)


def test_a_fence_that_excludes_all_customers_is_rejected():
    table = customers(BALANCE=[0.0, 1.0, 2.0, 3.0], PURCHASES=[1.0, 3.0, 0.0, 2.0])  # never both between their quartiles
    with pytest.raises(DataError, match=r"every customer is beyond some outlier fence: raise outlier_fence, which is 0\.01"):
        fit_preparation(table, FEATURES, outliers="drop", outlier_fence=0.01)
