import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from services.contract.preparation import Preparation
from services.evaluate.labels import NewCustomers, label_customers, read_new_customers
from stagekit.errors import DataError
from tests.services import bad_tables

FEATURES = ("BALANCE", "PURCHASES")


def prepare(group_column=None) -> Preparation:
    """A preparation of BALANCE from 0 to 1000 and PURCHASES from 0 to 10."""
    ends = np.array([[0.0, 0.0], [1000.0, 10.0]])
    return Preparation(
        feature_columns=FEATURES,
        log_columns=(),
        fences={},
        drops_outliers=False,
        training_range={"BALANCE": (0.0, 1000.0), "PURCHASES": (0.0, 10.0)},
        pipeline=Pipeline([("scale", StandardScaler())]).fit(ends),
        group_column=group_column,
        group_pipelines={},
    )


@pytest.fixture
def model() -> KMeans:
    """Cluster 0 buys little, cluster 1 much."""
    return KMeans(2, init=np.array([[0.0, -1.0], [0.0, 1.0]]), n_init=1).fit(np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]))


@pytest.fixture
def read(tmp_path):
    def read_text(content: str, preparation=None) -> NewCustomers:
        (tmp_path / "test.csv").write_text(content)
        return read_new_customers(tmp_path / "test.csv", preparation or prepare())

    return read_text


def test_customers_are_scaled_as_the_training_data_was_before_they_are_labelled(read, model):
    customers = read("CUST_ID,BALANCE,PURCHASES\nA,900,1\nB,900,9\n")
    assert [customer.label for customer in label_customers(customers, prepare(), model)] == [0, 1]
    assert model.predict(customers.rows[list(FEATURES)].to_numpy()).tolist() == [0, 0]  # what the raw rows would have given


def test_a_customer_without_all_features_gets_a_reason_instead_of_a_label(read, model):
    first, second = label_customers(read("CUST_ID,BALANCE,PURCHASES\nA,,NA\nB,900,9\n"), prepare(), model)
    assert (first.customer, first.label, first.reason) == ("A", None, "no value for BALANCE; no value for PURCHASES")
    assert (second.customer, second.label, second.reason) == ("B", 1, "")


def test_a_file_in_which_no_customer_can_be_labelled_is_accepted(read, model):
    assert [customer.label for customer in label_customers(read("BALANCE,PURCHASES\n,\n,\n"), prepare(), model)] == [None, None]


def test_features_outside_the_training_range_are_named(read, model):
    customers = label_customers(read("BALANCE,PURCHASES\n1001,10\n-1,11\n1000,0\n"), prepare(), model)
    assert [customer.outside_training_range for customer in customers] == [("BALANCE",), ("BALANCE", "PURCHASES"), ()]


def test_a_table_without_ids_is_labelled_too(read, model):
    assert label_customers(read("BALANCE,PURCHASES\n1,2\n"), prepare(), model)[0].customer is None


def test_the_group_column_is_required(read):
    with pytest.raises(DataError, match="column 'REGION' is missing"):
        read("BALANCE,PURCHASES\n1,2\n", prepare(group_column="REGION"))


@pytest.mark.parametrize("table", bad_tables.TABLES, ids=lambda table: table.name)
def test_a_table_is_read_right_or_what_is_wrong_is_named(tmp_path, table):
    (tmp_path / "test.csv").write_bytes(table.content)
    preparation = replace(prepare(), feature_columns=bad_tables.FEATURES)
    if table in bad_tables.WRONG_FILES or "row 1:" in table.complaint:
        with pytest.raises(DataError, match=rf"test\.csv.*{table.complaint}"):
            read_new_customers(tmp_path / "test.csv", preparation)
    elif table.complaint:
        assert re.match(rf"test\.csv.*{table.complaint}", read_new_customers(tmp_path / "test.csv", preparation).problem)
    else:
        rows, problem = read_new_customers(tmp_path / "test.csv", preparation)
        assert (list(rows["CUST_ID"]), problem) == ([row[0] for row in table.rows], "")


def test_a_file_without_customers_has_a_reason_instead_of_a_label(read, model):
    (only,) = label_customers(read("BALANCE,PURCHASES\n"), prepare(), model)
    assert (only.label, only.reason) == (None, "test.csv has no rows: expected one for each customer to label")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("C,1,five", "test.csv row 3: PURCHASES is 'five', expected a number"),
        ("C,1", "test.csv row 3: 2 fields instead of 3"),
        ('"C,1,5', "test.csv row 3: "),
    ],
)
def test_customers_before_a_row_that_cannot_be_read_are_labelled_and_that_row_gets_the_reason(read, model, row, problem):
    first, second = label_customers(read(f"CUST_ID,BALANCE,PURCHASES\nA,900,9\n{row}\nD,900,1\n"), prepare(), model)
    assert (first.customer, first.label, first.reason) == ("A", 1, "")
    assert (second.customer, second.label) == (None, None)
    assert second.reason.startswith(problem)


def test_an_unreadable_first_row_is_accepted(read, model):
    (only,) = label_customers(read("CUST_ID,BALANCE,PURCHASES\nA,one,9\n"), prepare(), model)
    assert (only.label, only.reason) == (None, "test.csv row 2: BALANCE is 'one', expected a number")
