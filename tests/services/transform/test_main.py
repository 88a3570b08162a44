"""The stage transform on a temporary volume."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from services.contract import artifacts
from services.contract.settings import TransformSettings
from services.pipeline import PIPELINE
from services.transform.main import main
from stagekit.errors import DataError
from stagekit.volume.parts import Part
from stagekit.volume.workspace import Workspace
from tests.stagekit.manifests import commit


@pytest.fixture
def transform(tmp_path):
    def run(*parts: pd.DataFrame, **settings):
        with Workspace(PIPELINE, "extract", tmp_path, "demo") as work:
            for part in parts:
                work.save(artifacts.CUSTOMERS, part)
            commit(work)
        with Workspace(PIPELINE, "transform", tmp_path, "demo") as work:
            result = main(TransformSettings(run="demo", **settings), work)
            commit(work)
        with Workspace(PIPELINE, "train", tmp_path, "demo") as work:
            features, *others = (part.load() for part in work.parts(artifacts.FEATURES))
            features["scaled"] = np.concatenate([features["scaled"], *(other["scaled"] for other in others)])
        return result, features, (tmp_path / "runs/demo/transform/dropped.csv").read_text()

    return run


@pytest.fixture
def customers() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.gamma(1, 1000, (50, 3)), columns=["BALANCE", "PURCHASES", "CREDIT_LIMIT"])
    frame.insert(0, "CUST_ID", pd.Series([f"C{row}" for row in range(50)], dtype="str"))
    frame.loc[4, "BALANCE"] = np.nan
    frame.loc[9, ["BALANCE", "CREDIT_LIMIT"]] = np.nan
    return frame


def test_the_payload_has_features_in_the_order_of_the_table_their_names_and_the_preparation(transform, customers):
    _, features, _ = transform(customers)
    assert set(features) == {"scaled", "feature_columns", "preparation"}
    assert features["feature_columns"] == ["BALANCE", "PURCHASES", "CREDIT_LIMIT"]
    assert features["scaled"].shape == (48, 3)
    expected = features["preparation"].transform(customers.drop(index=[4, 9]))
    np.testing.assert_array_equal(features["scaled"], expected)


def test_the_result_counts_the_dropped_by_reason_and_the_file_names_them(transform, customers):
    result, _, dropped = transform(customers)
    assert result == {
        "customers": 48,
        "dropped": 2,
        "reasons": {"no value for BALANCE": 1, "no value for BALANCE; no value for CREDIT_LIMIT": 1},
    }
    assert dropped == "CUST_ID,reason\nC4,no value for BALANCE\nC9,no value for BALANCE; no value for CREDIT_LIMIT\n"


def test_the_result_is_short_however_many_values_are_missing(transform):
    rng = np.random.default_rng(0)
    names = [f"A_FEATURE_WITH_A_RATHER_LONG_NAME_{number}" for number in range(17)]
    frame = pd.DataFrame(rng.random((500, 17)), columns=names).mask(rng.random((500, 17)) < 0.1)
    result, _, _ = transform(frame, feature_columns=tuple(names))
    assert len(json.dumps(result)) < 1000
    assert sum(result["reasons"].values()) == result["dropped"]


def test_customers_without_ids_are_listed_by_their_row(transform, customers):
    _, _, dropped = transform(customers.drop(columns="CUST_ID"))
    assert dropped.splitlines()[1:] == ["5,no value for BALANCE", "10,no value for BALANCE; no value for CREDIT_LIMIT"]


def test_features_and_dropped_customers_do_not_depend_on_the_parts(transform, customers):
    for table in (customers, customers.drop(columns="CUST_ID")):
        result, features, dropped = transform(table)
        parts = [table[:4], table[4:5], table[5:]]  # no customer of the second part has all features
        result_of_parts, features_of_parts, dropped_of_parts = transform(*(part.reset_index(drop=True) for part in parts))
        assert result_of_parts == result
        assert dropped_of_parts == dropped
        np.testing.assert_allclose(features_of_parts["scaled"], features["scaled"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("outliers", "n_reads"), [("keep", 1), ("clip", 1), ("drop", 2)])
def test_each_part_is_read_once_and_again_only_for_the_ids_of_outliers(transform, customers, outliers, n_reads, monkeypatch):
    reads = Counter[str]()
    load = Part.load

    def count(part: Part):
        reads[part.expected.name] += 1
        return load(part)

    monkeypatch.setattr(Part, "load", count)
    transform(customers[:20], customers[20:], outliers=outliers, log_columns="BALANCE,PURCHASES", outlier_fence=1.5)
    by_part = {name: count for name, count in reads.items() if name.startswith("extract/customers/")}
    assert by_part == dict.fromkeys(["extract/customers/00000.pkl", "extract/customers/00001.pkl"], n_reads)


@pytest.mark.parametrize("outliers", ["keep", "clip"])
def test_a_negative_amount_without_a_logarithm_is_named_by_its_customer_in_any_part(transform, customers, outliers):
    customers.loc[33, "PURCHASES"] = -5.0
    with pytest.raises(DataError, match=r"customer C33: PURCHASES is -5.*\(1 of 50 customers have one\)"):
        transform(customers[:20], customers[20:], outliers=outliers, log_columns="BALANCE,PURCHASES")
