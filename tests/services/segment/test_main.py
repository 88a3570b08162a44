"""The whole stage, on small tables whose segments one can see."""

import json
import logging
import os
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from services.contract.artifacts import SEGMENTER
from services.contract.results import MIGRATION_COLUMNS, POINTS_COLUMNS, PROFILE_COLUMNS, WEAKEST_SEGMENT, Segmentation
from services.contract.settings import SegmentSettings
from services.pipeline import PIPELINE
from services.segment import main
from services.segment.assignment import to_segmenter
from stagekit.errors import DataError, MissingInputError, TransientError
from stagekit.volume.model_store import ModelStore
from stagekit.volume.workspace import Workspace
from tests.services.segment.runs import (
    FEATURES,
    folder,
    group,
    make_run,
    members,
    prepare,
    read_published,
    read_register,
    read_rows,
    segment,
    table,
)

THREE = table(group("savers", 60), group("borrowers", 40), group("buyers", 20))
CHECK = f"{WEAKEST_SEGMENT} has a stability of 0.500, less than 0.6"
"""A check that fails in evaluate."""


def ids(segmentation: dict) -> list[int]:
    return [one["segment_id"] for one in segmentation["segments"]]


def test_every_customer_of_the_input_comes_out_once_and_in_order(tmp_path):
    customers = THREE.assign(BALANCE=THREE["BALANCE"].where(THREE.index % 40 != 0))
    found = make_run(tmp_path, "one", customers, 3)
    rows = read_rows(tmp_path, "one")
    assert [row["CUST_ID"] for row in rows] == customers["CUST_ID"].tolist()
    assert [row["CUST_ID"] for row in rows if row["reason"]] == ["savers-0", "savers-40", "borrowers-20"]
    assert found["rows"] == 120 == sum(one["customers"] for one in found["segments"]) + sum(found["unassigned"].values())
    assert found["unassigned"] == {"no value for BALANCE": 3}
    assert sum(one["share"] for one in found["segments"]) == pytest.approx(1)


def test_every_file_has_the_columns_of_the_contract(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    Segmentation.model_validate_json((folder(tmp_path, "one") / "segmentation.json").read_text())
    for name, columns in (
        ("profile.csv", PROFILE_COLUMNS),
        ("migration.csv", MIGRATION_COLUMNS),
        ("points.csv", POINTS_COLUMNS),
    ):
        header = (folder(tmp_path, "one") / name).read_text().splitlines()[0]
        assert header == ",".join(columns)
    assert len(read_rows(tmp_path, "one", "points.csv")) == 120
    assert {row["segment_id"] for row in read_rows(tmp_path, "one", "points.csv")} == {"1", "2", "3"}


def test_the_first_run_numbers_its_segments_by_size_and_names_them_after_their_profile(tmp_path):
    found = make_run(tmp_path, "one", THREE, 3)
    assert [(one["segment_id"], one["customers"]) for one in found["segments"]] == [(1, 60), (2, 40), (3, 20)]
    names = [one["name"] for one in found["segments"]]
    assert names == [
        "low credit limit, low balance",
        "very high balance, high credit limit",
        "very high purchases, very high credit limit",
    ]
    assert found["comparison"] is None
    assert read_rows(tmp_path, "one", "migration.csv") == []
    assert [one["is_new"] for one in found["segments"]] == [False] * 3


@pytest.mark.parametrize("again", [THREE, THREE.sample(frac=1, random_state=0, ignore_index=True)])
def test_another_seed_or_order_of_the_customers_changes_no_segment(tmp_path, again):
    make_run(tmp_path, "one", THREE, 3, seed=1)
    assert make_run(tmp_path, "two", again, 3, seed=2)["warm_start_sse_ratio"] == pytest.approx(1)
    assert members(read_rows(tmp_path, "two")) == members(read_rows(tmp_path, "one"))
    assert members(read_rows(tmp_path, "two"), "previous_segment_id") == members(read_rows(tmp_path, "one"))


def test_a_segment_whose_customers_have_left_vanishes_and_a_new_one_gets_a_new_id(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    found = make_run(tmp_path, "two", table(group("savers", 60), group("borrowers", 40), group("rich", 30)), 3)
    assert ids(found) == [1, 2, 4]
    assert found["segments"][2]["is_new"]
    assert list(found["comparison"]["vanished"]) == ["3"]
    assert any("has vanished" in warning for warning in found["warnings"])
    assert any("is new" in warning for warning in found["warnings"])
    moves = [
        (row["from_segment_id"], row["to_segment_id"], row["customers"]) for row in read_rows(tmp_path, "two", "migration.csv")
    ]
    assert moves == [("1", "1", "60"), ("2", "2", "40"), ("3", "", "20"), ("", "4", "30")]
    third = make_run(tmp_path, "three", THREE, 3)
    assert ids(third) == [1, 2, 5]  # the buyers are back, but 3 was given once


@pytest.mark.parametrize("newcomers", [10, 50])
def test_more_segments_than_before_leave_the_others_as_they_are(tmp_path, newcomers):
    make_run(tmp_path, "one", THREE, 3)
    found = make_run(tmp_path, "two", table(THREE, group("rich", newcomers)), 4)
    assert {one["segment_id"]: one["is_new"] for one in found["segments"]} == {1: False, 2: False, 3: False, 4: True}
    assert found["comparison"]["same_segment"] == found["comparison"]["common_customers"] == 120


def test_segments_are_recognised_although_they_were_prepared_differently(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    found = make_run(tmp_path, "two", THREE, 3, log_columns=["PURCHASES"], features=("CREDIT_LIMIT", "PURCHASES"))
    assert ids(found) == [1, 2, 3]
    assert found["comparison"]["ari"] == 1
    assert list(found["comparison"]["psi"]) == ["PURCHASES", "CREDIT_LIMIT"]


def test_only_the_columns_that_are_gone_are_named(tmp_path):
    make_run(tmp_path, "one", THREE.assign(REGION="1"), 3, group_column="REGION")
    (warning,) = make_run(tmp_path, "two", THREE, 3)["warnings"]
    assert warning.endswith("by previous membership: column REGION, used by run one, is missing or not numeric")


def test_without_the_previous_features_segments_are_matched_by_previous_membership(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    renamed = THREE.rename(columns={name: f"NEW_{name}" for name in FEATURES})
    found = make_run(tmp_path, "two", renamed, 3, features=tuple(f"NEW_{name}" for name in FEATURES))
    assert ids(found) == [1, 2, 3]
    names = ", ".join(FEATURES)
    assert found["warnings"][0] == (
        f"segments are matched by previous membership: columns {names}, used by run one, are missing or not numeric"
    )


def test_a_run_whose_groups_are_written_differently_keeps_its_segments(tmp_path):
    regional = THREE.assign(REGION=np.arange(120) % 3 + 1)
    regional["BALANCE"] += 50_000 * regional["REGION"]
    grouping = {"group_column": "REGION", "min_group_size": 5}
    make_run(tmp_path, "one", regional.astype({"REGION": "str"}), 3, **grouping)
    found = make_run(tmp_path, "two", regional.astype({"REGION": "float"}).astype({"REGION": "str"}), 3, **grouping)
    assert ids(found) == [1, 2, 3]
    assert found["warnings"] == []
    assert found["comparison"]["same_segment"] == 120


def test_a_run_whose_groups_have_other_names_matches_segments_by_previous_membership(tmp_path):
    regional = THREE.assign(REGION=np.arange(120) % 3 + 1)
    regional["BALANCE"] += 50_000 * regional["REGION"]
    grouping = {"group_column": "REGION", "min_group_size": 5}
    make_run(tmp_path, "one", regional.astype({"REGION": "str"}), 3, **grouping)
    renamed = regional.assign(REGION=regional["REGION"].map({1: "north", 2: "south", 3: "west"}))
    found = make_run(tmp_path, "two", renamed, 3, **grouping)
    assert ids(found) == [1, 2, 3]
    assert found["warnings"] == [
        "segments are matched by previous membership: 120 of 120 customers are in a REGION that run one did not have"
    ]


@pytest.mark.parametrize(("n_missing", "warnings"), [(6, 0), (7, 1)])
def test_customers_without_a_group_are_counted_and_many_of_them_are_warned_of(tmp_path, n_missing, warnings):
    regional = THREE.assign(REGION=pd.Series([None] * n_missing + ["1"] * (120 - n_missing), dtype="str"))
    found = make_run(tmp_path, "one", regional, 3, group_column="REGION")
    assert found["ungrouped"] == {"no REGION": n_missing}
    assert len(found["warnings"]) == warnings
    assert all(f"{n_missing} with no REGION" in warning for warning in found["warnings"])


def test_replaced_ids_are_warned_of(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    found = make_run(tmp_path, "two", THREE.assign(CUST_ID="new-" + THREE["CUST_ID"]), 3)
    assert ids(found) == [1, 2, 3]
    (warning,) = found["warnings"]
    assert warning.startswith("only 0 of 120 customers have a CUST_ID that was among the 120 of run one")


def test_without_ids_segments_are_recognised_and_customers_are_not(tmp_path):
    anonymous = THREE.drop(columns="CUST_ID")
    make_run(tmp_path, "one", anonymous, 3)
    found = make_run(tmp_path, "two", anonymous, 3, seed=3)
    assert ids(found) == [1, 2, 3]
    assert found["comparison"]["common_customers"] == 0
    assert [row["CUST_ID"] for row in read_rows(tmp_path, "two")][:2] == ["1", "2"]
    assert {row["previous_segment_id"] for row in read_rows(tmp_path, "two")} == {""}


def test_without_ids_and_without_the_previous_features_there_is_a_warning_that_no_segment_is_recognised(tmp_path):
    anonymous = THREE.drop(columns="CUST_ID")
    make_run(tmp_path, "one", anonymous, 3)
    renamed = anonymous.rename(columns={name: f"NEW_{name}" for name in FEATURES})
    found = make_run(tmp_path, "two", renamed, 3, features=tuple(f"NEW_{name}" for name in FEATURES))
    assert ids(found) == [4, 5, 6]
    assert found["warnings"][0] == ("no segment of run one can be recognised: the table has neither its features nor CUST_ID")


def test_the_result_stays_short_and_leaves_out_reasons_before_segments(tmp_path):
    run = "r" * 250
    prepare(
        tmp_path,
        run,
        table(*(group(name, 20) for name in ("savers", "borrowers", "buyers", "rich"))),
        4,
        failed_checks=(CHECK, "x" * 200),
        jaccard=[0.9, 0.5, 0.9, 0.9],
    )
    (tmp_path / "data").mkdir()
    names = "".join(f"{number},{letter * 80}\n" for number, letter in enumerate("abcd", start=1))
    (tmp_path / "data/segment_names.csv").write_text("segment_id,name\n" + names)
    with Workspace(PIPELINE, "segment", tmp_path, run) as work:
        result = main.main(SegmentSettings(volume=tmp_path, run=run), work)
    assert len(json.dumps(result)) < 1000
    assert [segment["name"][0] for segment in result["segments"]] == ["a", "b", "c", "d"]
    assert len(result["held_back"]) == 1
    assert re.fullmatch(r"segment \d \((a+|b+|c+|d+)\) has a stability of 0\.500, less than 0\.6", result["held_back"][0])


def test_a_run_that_fails_a_check_is_not_published_and_the_active_run_stays(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    before = read_published(tmp_path)
    found = make_run(tmp_path, "two", table(THREE, group("rich", 30)), 3, failed_checks=[CHECK], jaccard=[0.9, 0.5, 0.9])
    assert not found["published"]
    weakest = next(one for one in found["segments"] if one["jaccard"] == 0.5)
    assert found["held_back"] == [
        f"segment {weakest['segment_id']} ({weakest['name']}) has a stability of 0.500, less than 0.6"
    ]
    assert read_register(tmp_path).active_run == "one"
    assert read_published(tmp_path) == before


def test_the_last_model_of_the_training_is_published_with_the_segments_and_not_without_them(tmp_path):
    published = tmp_path / "model/kmeans_custom.sav"
    make_run(tmp_path, "one", THREE, 3, failed_checks=[CHECK])
    assert not published.exists()
    for run in ("two", "three"):
        make_run(tmp_path, run, THREE, 3, seed=len(run))
        assert published.read_bytes() == (tmp_path / f"runs/{run}/train/kmeans_custom.sav").read_bytes()
    before = published.read_bytes()
    make_run(tmp_path, "four", THREE, 4, failed_checks=[CHECK])
    assert published.read_bytes() == before


def test_a_run_with_too_many_customers_without_a_segment_is_not_published(tmp_path):
    found = make_run(tmp_path, "one", THREE.assign(BALANCE=THREE["BALANCE"].where(THREE.index % 10 != 0)), 3)
    assert found["held_back"] == ["12 of 120 customers have no segment: 10%, more than 5%"]
    assert read_register(tmp_path).active_run is None


def test_a_run_that_fails_a_check_can_be_published_on_request(tmp_path):
    prepare(tmp_path, "one", THREE, 3, failed_checks=[CHECK])
    found = segment(tmp_path, "one", publish="always")
    assert (found["published"], len(found["held_back"])) == (True, 1)
    assert read_register(tmp_path).active_run == "one"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_an_experimental_run_changes_nothing_below_model(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    before = snapshot(tmp_path / "model")
    prepare(tmp_path, "two", table(THREE, group("rich", 30)), 4)
    found = segment(tmp_path, "two", publish="never")
    assert (found["published"], found["experimental"], found["held_back"]) == (False, True, [])
    assert (len(found["segments"]), found["comparison"]["run"]) == (4, "one")
    assert snapshot(tmp_path / "model") == before
    assert "two" not in {entry.run for entry in read_register(tmp_path).runs}


def test_an_experimental_run_works_beside_a_run_that_publishes(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    lock_of_the_other = ModelStore(tmp_path, PIPELINE).lock()
    assert segment(tmp_path, "one", publish="never")["experimental"]
    os.close(lock_of_the_other)


def test_an_experimental_run_can_be_published_by_running_it_again(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    segment(tmp_path, "one", publish="never")
    assert segment(tmp_path, "one")["published"]
    assert read_register(tmp_path).active_run == "one"


def test_a_segment_that_is_too_small_to_assess_is_a_warning(tmp_path):
    found = make_run(tmp_path, "one", THREE, 3, jaccard=[0.9, None, 0.9])
    tiny = next(one for one in found["segments"] if one["jaccard"] is None)
    assert found["published"]
    assert found["warnings"] == [
        f"segment {tiny['segment_id']} ({tiny['name']}) is too small to assess its stability: {tiny['customers']} customers"
    ]


def test_the_ids_of_an_unpublished_run_are_not_given_to_others(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    held = make_run(tmp_path, "two", table(THREE, group("rich", 30)), 4, failed_checks=[CHECK])
    assert sorted(ids(held)) == [1, 2, 3, 4]
    poor = group("savers", 30, prefix="poor").assign(BALANCE=9000.0)
    assert sorted(ids(make_run(tmp_path, "three", table(THREE, poor), 4))) == [1, 2, 3, 5]


def outputs(volume, run: str) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder(volume, run).iterdir() if path.name not in ("manifest.json", ".lock")
    }


@pytest.mark.parametrize("fails", [(), (CHECK,)])
def test_a_retry_gives_the_same_files_and_does_not_compare_a_run_with_itself(tmp_path, fails):
    make_run(tmp_path, "one", THREE, 3)
    changed = table(group("savers", 60), group("rich", 50))
    found = make_run(tmp_path, "two", changed, 2, failed_checks=fails)
    before = outputs(tmp_path, "two")
    segment(tmp_path, "two")
    assert outputs(tmp_path, "two") == before
    assert found["comparison"]["run"] == "one"


def test_the_first_run_of_all_stays_the_first_when_it_is_run_again(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    before = outputs(tmp_path, "one")
    assert segment(tmp_path, "one")["comparison"] is None
    assert outputs(tmp_path, "one") == before


def test_a_run_again_with_another_seed_keeps_the_ids_that_it_gave(tmp_path):
    make_run(tmp_path, "one", THREE, 3, seed=1)
    first = members(read_rows(tmp_path, "one"))
    make_run(tmp_path, "one", THREE, 3, seed=2)
    assert members(read_rows(tmp_path, "one")) == first
    assert len(read_register(tmp_path).segments) == 3


def test_a_rerun_of_an_older_run_is_not_published_unless_requested(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    make_run(tmp_path, "two", THREE, 3)
    found = segment(tmp_path, "one")
    assert found["held_back"] == ["run two is active and newer than this one"]
    assert found["comparison"] is None  # no run was active before it
    assert read_register(tmp_path).active_run == "two"
    assert segment(tmp_path, "one", publish="always")["published"]
    assert read_register(tmp_path).active_run == "one"
    assert make_run(tmp_path, "three", THREE, 3)["comparison"]["run"] == "one"


def test_the_users_names_survive_retraining(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/segment_names.csv").write_text("segment_id,name\n2,=Borrowers\n")
    make_run(tmp_path, "one", THREE, 3, seed=1)
    found = make_run(tmp_path, "two", THREE, 3, seed=2)
    assert found["segments"][1]["name"] == "=Borrowers"
    assert {row["segment_name"] for row in read_rows(tmp_path, "two") if row["segment_id"] == "2"} == {"'=Borrowers"}
    (tmp_path / "data/segment_names.csv").unlink()
    assert make_run(tmp_path, "three", THREE, 3)["segments"][1]["name"] == "very high balance, high credit limit"


def test_a_generated_name_that_no_longer_fits_is_replaced_in_the_registry_when_the_run_is_published(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    former = "very high purchases, very high credit limit"
    new = "very high purchases, low balance"
    for fails, name in (([CHECK], former), ([], new)):
        found = make_run(tmp_path, "two", THREE, 3, failed_checks=fails, features=("BALANCE", "PURCHASES"))
        assert new in [one["name"] for one in found["segments"] if one["segment_id"] == 3]
        assert f"segment 3 is now called {new!r}, formerly {former!r}" in found["warnings"]
        assert {known.segment_id: known.name for known in read_register(tmp_path).segments}[3] == name
    before = outputs(tmp_path, "two")
    segment(tmp_path, "two")
    assert outputs(tmp_path, "two") == before


def test_a_names_file_that_the_user_names_has_to_be_there(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    with pytest.raises(
        MissingInputError, match=r"there is no file data/segment_name\.csv on the volume: put it there, or name"
    ):
        segment(tmp_path, "one", names_file="data/segment_name.csv")
    assert segment(tmp_path, "one")["published"]


def test_a_name_for_a_segment_that_does_not_exist_is_warned_of(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/segment_names.csv").write_text("segment_id,name\n1,Savers\n999,Unknown\n")
    (warning,) = make_run(tmp_path, "one", THREE, 3)["warnings"]
    assert "1 segment that no run has made (999)" in warning
    assert warning in caplog.messages


def test_ids_that_look_like_formulas_are_harmless_and_still_recognised(tmp_path):
    risky = THREE.assign(CUST_ID=["=cmd|' /C calc'!A" + str(number) for number in range(120)])
    make_run(tmp_path, "one", risky, 3)
    found = make_run(tmp_path, "two", risky, 3)
    assert all(row["CUST_ID"].startswith("'=cmd") for row in read_rows(tmp_path, "two"))
    assert found["comparison"]["common_customers"] == found["comparison"]["same_segment"] == 120


def test_two_runs_do_not_publish_at_the_same_time(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    lock = ModelStore(tmp_path, PIPELINE).lock()
    with pytest.raises(TransientError, match="in use by another process"):
        segment(tmp_path, "one")
    os.close(lock)
    assert segment(tmp_path, "one")["published"]


def test_features_of_other_customers_are_refused(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    other = tmp_path / "other"
    other.mkdir()
    prepare(other, "one", THREE[:100], 3)
    (tmp_path / "runs/one/extract").rename(tmp_path / "away")
    (other / "runs/one/extract").rename(tmp_path / "runs/one/extract")
    with pytest.raises(DataError, match=r"holds 120 customers, .* should hold 100: run all stages from transform on again"):
        segment(tmp_path, "one")


def test_damaged_files_of_the_active_run_are_refused_and_publishing_it_again_fixes_them(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    path = next((tmp_path / "model/published").iterdir()) / "segmenter.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    prepare(tmp_path, "two", THREE, 3)
    with pytest.raises(DataError, match=r"segmenter\.pkl has sha256 .* run segment for run one again"):
        segment(tmp_path, "two")
    segment(tmp_path, "one")
    assert segment(tmp_path, "two")["published"]


def test_what_is_published_unpickles_through_the_allow_list(tmp_path):
    make_run(tmp_path, "one", THREE, 3, log_columns=["BALANCE"], outliers="clip")
    with Workspace(PIPELINE, "segment", tmp_path, "x") as work:
        segmenter = work.load_published(work.read_registry(lock=False).entry("one"), SEGMENTER)
    assert segmenter["names"]
    assert np.isfinite(segmenter["outlier_distance"]).all()


def test_segments_are_also_written_as_parquet_with_the_setting(tmp_path):
    prepare(tmp_path, "one", THREE, 3)
    segment(tmp_path, "one", parquet=True)
    path = str(folder(tmp_path, "one") / "segments.parquet")
    rows = duckdb.execute("SELECT CUST_ID, segment_id::VARCHAR FROM read_parquet(?)", [path])
    assert dict(rows.fetchall()) == members(read_rows(tmp_path, "one"))
    segment(tmp_path, "one")
    assert not (folder(tmp_path, "one") / "segments.parquet").exists()


def test_the_log_reports_the_publication_before_it_happens(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    make_run(tmp_path, "one", THREE, 3)
    assert "run one passed the quality gate and will be published" in caplog.messages


def test_a_segmenter_with_the_former_name_of_a_field_is_read(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    with Workspace(PIPELINE, "segment", tmp_path, "x") as work:
        values = work.load_published(work.read_registry(lock=False).entry("one"), SEGMENTER)
    former = {"reach" if name == "outlier_distance" else name: value for name, value in values.items()}
    assert to_segmenter(former).outlier_distance is values["outlier_distance"]


def test_a_segmentation_with_the_former_names_of_fields_is_read(tmp_path):
    found = make_run(tmp_path, "one", THREE, 3)
    former = {**found, "continued_sse": 1.5}
    del former["warm_start_sse_ratio"]
    former["segments"] = [{**one, "sets_apart": ["high balance"]} for one in found["segments"]]
    for one in former["segments"]:
        del one["distinguishing_features"]
    read = Segmentation.model_validate(former)
    assert (read.warm_start_sse_ratio, read.segments[0].distinguishing_features) == (1.5, ("high balance",))
