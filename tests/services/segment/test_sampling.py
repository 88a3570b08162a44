"""The sample that the descriptions are computed on."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from services.segment.sampling import MAX_CUSTOMERS, join_samples, sample_part, sampling_rate
from services.transform.features import fit_preparation


def sample(*parts, n_customers=1, decimal="."):
    """Draw from parts with the columns CUST_ID, A (the only feature) and others."""
    frames = [pd.DataFrame(part).assign(CUST_ID="the same") for part in parts]
    preparation = fit_preparation(pd.DataFrame({"A": [0.0, 1.0]}), ["A"])
    draw = partial(sample_part, preparation=preparation, n_customers=n_customers, decimal=decimal)
    return join_samples([draw(frame, number) for number, frame in enumerate(frames)], decimal)


def texts(*values):
    return pd.Series(values, dtype="str")


def test_a_small_table_is_used_as_a_whole_without_ids_and_customers_who_lack_a_feature():
    result = sample({"A": [1.0, np.nan], "B": [3.0, 4.0]}, {"A": [2.0], "B": [np.nan]})
    assert not result.is_sample
    assert list(result.customers) == ["A", "B"]
    assert result.customers["A"].tolist() == result.prepared["A"].tolist() == [1.0, 2.0]
    assert result.customers["B"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("n_customers", "n_columns", "expected"),
    [(200_000, 18, 200_000), (10_000_000, 18, 200_000), (10_000_000, 200, 25_000), (0, 3, 0)],
)
def test_the_sample_is_limited_in_customers_and_in_cells(n_customers, n_columns, expected):
    assert n_customers * sampling_rate(n_customers, n_columns) == pytest.approx(expected)


def test_the_same_customers_are_drawn_every_time_and_others_from_another_part():
    part = {"A": np.arange(1000.0)}
    first, again = (sample(part, part, n_customers=int(MAX_CUSTOMERS / 0.3)) for _ in range(2))
    assert first.is_sample
    assert first.customers["A"].tolist() == again.customers["A"].tolist()
    assert 500 < len(first.customers) < 700
    halves = np.split(first.customers["A"].to_numpy(), [(first.customers["A"].diff() < 0).idxmax()])
    assert set(halves[0]) != set(halves[1])


def test_texts_with_few_levels_stay_and_those_with_many_are_left_out_with_the_reason():
    names = texts(*(f"customer {number}" for number in range(30)))
    result = sample({"A": np.arange(30.0), "REGION": texts(*["north", "south", None] * 10), "NAME": names})
    assert result.customers["REGION"].value_counts().to_dict() == {"north": 10, "south": 10}
    assert result.left_out == {"NAME": "has more than 20 different texts"}


def test_levels_count_in_all_parts_together():
    parts = [{"A": np.arange(12.0), "B": texts(*(f"{number} {row}" for row in range(12)))} for number in range(2)]
    assert sample(parts[0]).left_out == {}
    assert sample(*parts).left_out == {"B": "has more than 20 different texts"}


def test_a_very_long_text_is_no_category():
    assert sample({"A": [1.0, 2.0], "B": texts("x" * 101, "y")}).left_out == {"B": "has a text of more than 100 characters"}


@pytest.mark.parametrize(
    ("values", "decimal"), [(("1", "-2.5", "1e3", None, "NA"), "."), (("1", "-2,5", "1e3", None, "NA"), ",")]
)
def test_texts_that_are_all_numbers_become_numbers(values, decimal):
    result = sample({"A": np.arange(5.0), "B": texts(*values)}, decimal=decimal)
    assert result.customers["B"].tolist()[:3] == [1.0, -2.5, 1000.0]
    assert result.customers["B"].isna().sum() == 2


def test_a_code_with_leading_zeros_is_no_number():
    result = sample({"A": [1.0, 2.0], "B": texts("007", "12")})
    assert result.customers["B"].tolist() == ["007", "12"]


def test_numbers_and_texts_in_different_parts_make_a_category_or_are_left_out():
    few, many = ({"A": np.arange(n * 1.0), "B": texts(*map(str, range(n)))} for n in (2, 25))
    text = {"A": [1.0], "B": texts("other")}
    assert sample(few, text).customers["B"].tolist() == ["0", "1", "other"]
    assert sample(few, many).customers["B"].tolist() == [0.0, 1.0, *range(25)]
    assert sample(many, text).left_out == {"B": "has more than 20 different texts"}


def test_a_column_without_values_is_one_of_numbers():
    assert sample({"A": [1.0], "B": texts(None)}).customers["B"].dtype == "float64"


def test_a_part_without_customers_changes_nothing():
    whole = {"A": [1.0, 2.0], "B": texts("x", "y")}
    result = sample(whole, {"A": [np.nan], "B": texts("z")})
    assert result.customers["B"].tolist() == ["x", "y"]
    assert len(sample({"A": [1.0]}, n_customers=10**12).customers) == 0
