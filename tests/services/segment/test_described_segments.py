"""What segment writes about the segments besides their members: description, value, rules, stability across k, history."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from services.contract import artifacts
from services.contract.results import Rules, RunSummary, Segmentation
from services.pipeline import PIPELINE
from services.segment import sampling
from stagekit.volume.history import FILE_NAME, read_history
from stagekit.volume.workspace import Workspace
from tests.services.segment.runs import FEATURES, commit, folder, group, make_run, prepare, read_json, read_rows, segment, table

CUSTOMERS = table(group("savers", 60), group("borrowers", 40), group("buyers", 20))


def with_columns(customers):
    """Add columns of every kind to a table."""
    n_rows = len(customers)
    return customers.assign(
        REGION=pd.Series(np.where(customers["BALANCE"] > 2000, "<script>alert(1)</script>", "south"), dtype="str"),
        VISITS=pd.Series([str(number % 30) for number in range(n_rows)], dtype="str"),
        COMMENT=pd.Series([f"comment {number}" for number in range(n_rows)], dtype="str"),
        CONSTANT=1.0,
        EMPTY=np.nan,
    )


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A run with k = 3, of which the sweep also has 2 and 4."""
    volume, customers = tmp_path_factory.mktemp("volume"), with_columns(CUSTOMERS)
    model = prepare(volume, "one", customers, 3)
    with Workspace(PIPELINE, "train", volume, "one") as work:
        scaled = (customers[list(FEATURES)] - customers[list(FEATURES)].mean()) / customers[list(FEATURES)].std(ddof=0)
        others = {k: KMeans(k, n_init=10, random_state=7).fit(scaled.to_numpy()) for k in (2, 4)}
        work.save(artifacts.SWEEP, {**others, 3: model})
        work.save(artifacts.MODEL, model)
        commit(work)
    segment(volume, "one")
    return volume


@pytest.fixture
def segmentation(volume):
    return Segmentation.model_validate(read_json(volume, "one"))


def test_every_column_is_described_but_ids_and_texts_with_many_values(volume, segmentation):
    rows = read_rows(volume, "one", "description.csv")
    assert {row["column"] for row in rows} == {*FEATURES, "REGION", "VISITS", "CONSTANT", "EMPTY"}
    assert {row["column"] for row in rows if row["is_feature"] == "yes"} == set(FEATURES)
    assert {row["level"] for row in rows if row["column"] == "REGION"} == {"<script>alert(1)</script>", "south"}
    assert segmentation.description.customers == 120
    assert not segmentation.description.is_sample
    assert segmentation.description.left_out == {"COMMENT": "has more than 20 different texts"}


def test_the_medians_of_the_description_are_those_of_the_profile(volume):
    described = {
        (row["segment_id"], row["column"]): float(row["median"])
        for row in read_rows(volume, "one", "description.csv")
        if row["median"]
    }
    for row in read_rows(volume, "one", "profile.csv"):
        assert described[row["segment_id"], row["feature"]] == pytest.approx(float(row["median"]))


def test_the_value_is_the_share_of_the_total_of_each_amount(segmentation):
    names = {one.segment_id: one for one in segmentation.segments}
    [purchases] = [value for value in segmentation.value if value.column == "PURCHASES"]
    buyers = max(names, key=lambda one: names[one].centroid["PURCHASES"])
    total = CUSTOMERS["PURCHASES"].sum()
    assert purchases.total == pytest.approx(total)
    assert purchases.shares[buyers] == pytest.approx(
        names[buyers].customers * names[buyers].centroid["PURCHASES"] / total, abs=1e-5
    )
    assert segmentation.not_amounts == {
        "CONSTANT": "has no value above 1, like a share, a frequency or a flag",
        "EMPTY": "has no values",
    }


def test_separate_segments_have_exact_rules_in_the_units_of_the_table(volume):
    rules = Rules.model_validate_json((folder(volume, "one") / "rules.json").read_bytes())
    assert (rules.accuracy, rules.leaves, rules.customers_fitted + rules.customers_evaluated) == (1.0, 3, 120)
    for one in rules.segments:
        assert (one.precision, one.recall, len(one.rules)) == (1.0, 1.0, 1)
        assert all(condition.column in FEATURES for condition in one.rules[0].conditions)


def test_the_segments_are_compared_with_the_next_smaller_and_larger_k(segmentation):
    fewer, more = segmentation.across_k
    assert (fewer.k, more.k, fewer.customers) == (2, 4, 120)
    assert sum(flow.customers for flow in fewer.flows) == sum(flow.customers for flow in more.flows) == 120
    assert sorted(one.best_jaccard for one in more.segments)[1:] == [1.0, 1.0]  # one segment is divided


def test_a_large_table_is_described_from_a_sample(volume, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_CUSTOMERS", 60)
    segmentation = Segmentation.model_validate(make_run(tmp_path, "one", with_columns(CUSTOMERS), 3))
    assert segmentation.description.is_sample
    assert 40 < segmentation.description.customers < 80
    [purchases] = [value for value in segmentation.value if value.column == "PURCHASES"]
    assert purchases.total == pytest.approx(CUSTOMERS["PURCHASES"].sum(), rel=0.1)


def test_with_the_features_alone_and_a_single_k_all_files_are_written(tmp_path):
    segmentation = Segmentation.model_validate(make_run(tmp_path, "one", CUSTOMERS.drop(columns="CUST_ID"), 3))
    assert segmentation.across_k == ()
    assert {row["column"] for row in read_rows(tmp_path, "one", "description.csv")} == set(FEATURES)


def test_a_group_column_with_many_groups_is_left_out_and_still_prepares_the_sample(tmp_path):
    customers = CUSTOMERS.assign(BRANCH=pd.Series([f"branch {number % 25}" for number in range(120)], dtype="str"))
    segmentation = make_run(tmp_path, "one", customers, 3, group_column="BRANCH", min_group_size=200)
    assert segmentation["description"]["left_out"] == {"BRANCH": "has more than 20 different texts"}
    assert segmentation["description"]["customers"] == 120


def test_every_run_is_in_the_history_once_with_its_key_figures(tmp_path):
    make_run(tmp_path, "one", CUSTOMERS, 3)
    prepare(tmp_path, "two", CUSTOMERS, 3)
    segment(tmp_path, "two", publish="never")
    make_run(tmp_path, "three", CUSTOMERS, 3, failed_checks=["the silhouette is 0.100, less than 0.25"])
    segment(tmp_path, "one")  # a retry
    history = read_history(tmp_path, RunSummary)
    assert [(run.run, run.status) for run in history] == [
        ("one", "published"),
        ("two", "experimental"),
        ("three", "not published"),
    ]
    assert history[2].failed_checks == ("the silhouette is 0.100, less than 0.25",)
    assert (history[0].k, history[0].customers, history[0].unassigned, history[0].max_psi) == (3, 120, 0, None)
    assert history[1].max_psi == pytest.approx(0)
    assert sorted(one.customers for one in history[0].segments) == [20, 40, 60]


def test_an_experimental_run_writes_the_history_and_nothing_to_the_model(tmp_path):
    prepare(tmp_path, "one", CUSTOMERS, 3)
    segment(tmp_path, "one", publish="never")
    assert (tmp_path / FILE_NAME).exists()
    assert not (tmp_path / "model").exists()
