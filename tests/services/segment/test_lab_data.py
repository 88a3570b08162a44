"""Identity on real tables: the generated sample, and the lab's own if it is there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.services.segment.runs import kept_share, make_run, read_json, read_rows

SAMPLE = Path(__file__).parents[3] / "shared_volume/data/file.csv"


@pytest.fixture(params=["sample", "lab"], scope="module")
def customers(request) -> pd.DataFrame:
    path = SAMPLE
    if request.param == "lab":
        path = request.getfixturevalue("lab_data") / "file.csv"
    return pd.read_csv(path, dtype={"CUST_ID": "str"}).drop_duplicates("CUST_ID", keep="last", ignore_index=True)


@pytest.mark.parametrize("seed", [42])
def test_nearly_all_customers_keep_the_segment_when_trained_with_another_seed(customers, tmp_path, seed):
    make_run(tmp_path, "one", customers, 5, seed=7)
    make_run(tmp_path, "two", customers, 5, seed=seed)
    assert kept_share(tmp_path, "two") >= 0.999
    assert read_json(tmp_path, "two")["comparison"]["vanished"] == {}
    assert [row["CUST_ID"] for row in read_rows(tmp_path, "two")] == customers["CUST_ID"].tolist()


def test_nearly_all_customers_keep_the_segment_when_one_customer_in_twenty_is_new(customers, tmp_path):
    order = np.random.default_rng(3).permutation(len(customers))
    cut = len(customers) // 20
    make_run(tmp_path, "one", customers.iloc[order[cut:]].reset_index(drop=True), 5, seed=7)
    found = make_run(tmp_path, "two", customers, 5, seed=8)
    assert kept_share(tmp_path, "two") >= 0.99
    assert found["published"]
    assert not any(one["is_new"] for one in found["segments"])


@pytest.mark.parametrize("k", [5, 8])
def test_on_unchanged_data_no_customer_moves(customers, tmp_path, k):
    make_run(tmp_path, "one", customers, k)
    found = make_run(tmp_path, "two", customers, k)
    assert found["comparison"]["same_segment"] == found["comparison"]["common_customers"]
    assert found["comparison"]["ari"] == 1


@pytest.mark.parametrize("k", [4, 7])
def test_on_unchanged_data_no_customer_moves_if_many_customers_are_as_near_to_two_segments(tmp_path, k):
    values = np.random.default_rng(5).integers(0, 5, (3000, 3)).astype(float)
    customers = pd.DataFrame(values, columns=["A", "B", "C"])
    customers.insert(0, "CUST_ID", [f"C{number}" for number in range(3000)])
    make_run(tmp_path, "one", customers, k, features=("A", "B", "C"))
    make_run(tmp_path, "two", customers, k, features=("A", "B", "C"))
    make_run(tmp_path, "three", customers, k, features=("A", "B", "C"))
    assert kept_share(tmp_path, "two") == kept_share(tmp_path, "three") == 1
