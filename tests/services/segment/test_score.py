import gzip
import json
import logging

import duckdb
import numpy as np
import pytest

from services.contract import artifacts
from services.contract.results import SCORES_COLUMNS
from services.contract.settings import ScoreSettings
from services.pipeline import PIPELINE
from services.segment import score
from stagekit.errors import DataError, MissingInputError
from stagekit.volume.runs import run_folder
from stagekit.volume.workspace import Workspace
from tests.services.segment.runs import (
    commit,
    finish,
    group,
    make_run,
    make_scores,
    members,
    prepare,
    read_csv,
    read_register,
    read_rows,
    segment,
    start,
    table,
)

THREE = table(group("savers", 60), group("borrowers", 40), group("buyers", 20))


def test_customers_who_are_scored_get_the_segment_that_the_run_gave_them(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    rows = make_scores(tmp_path, THREE)
    assert tuple(rows[0]) == SCORES_COLUMNS
    given = read_rows(tmp_path, "one")
    assert [{**row, "previous_segment_id": ""} for row in given] == [
        {name: "" if name == "previous_segment_id" else row[name] for name in given[0]} for row in rows
    ]
    assert members(rows, "previous_segment_id") == members(given)


def test_every_row_of_the_file_is_scored_or_has_a_reason(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    new = table(group("savers", 3, seed=5, prefix="new"), group("buyers", 3, seed=5, prefix="newer"))
    new.loc[1, "BALANCE"] = np.nan
    new.loc[2, "CREDIT_LIMIT"] = 241514
    rows = make_scores(tmp_path, new)
    assert [row["CUST_ID"] for row in rows] == ["new-0", "new-1", "new-2", "newer-0", "newer-1", "newer-2"]
    assert [row["reason"] for row in rows] == ["", "no value for BALANCE", "", "", "", ""]
    assert rows[2]["outside_training_range"] == "CREDIT_LIMIT"
    assert rows[2]["is_outlier"] == "yes"
    assert {row["previous_segment_id"] for row in rows} == {""}
    assert rows[0]["segment_id"] == "1"


def test_the_result_and_the_log_report_the_counts(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    make_run(tmp_path, "one", THREE, 3)
    new = table(group("savers", 3, seed=5, prefix="new"), group("buyers", 1, seed=5, prefix="other"))
    new.loc[1, "BALANCE"] = np.nan
    new.loc[2, "CREDIT_LIMIT"] = 241514
    (tmp_path / "data").mkdir()
    new.to_csv(tmp_path / "data/new.csv", index=False)
    caplog.clear()
    with Workspace(PIPELINE, "score", tmp_path, "new") as work:
        result = score.main(ScoreSettings(volume=tmp_path, score="data/new.csv"), work)
    assert result == {
        "scores": "scores/new/segments.csv",
        "active_run": "one",
        "rows": 4,
        "duplicates_dropped": 0,
        "unassigned": 1,
        "ungrouped": 0,
        "outside_training_range": 1,
    }
    names = read_register(tmp_path).entry("one").publication.segments
    assert [record.getMessage() for record in caplog.records] == [
        "read data/new.csv: 4 customers; the segments of run one are active",
        "1 customers have no segment, 1 are outside the training range",
        *(f"segment {number}, {names[number]}: {size} customers" for number, size in ((1, 1), (2, 0), (3, 2))),
    ]


def test_scores_follow_the_preparation_of_the_active_run(tmp_path):
    regional = THREE.assign(REGION=["north" if number % 2 else "south" for number in range(120)])
    shifted = regional.assign(CREDIT_LIMIT=regional["CREDIT_LIMIT"] + 50_000 * (regional["REGION"] == "north"))
    make_run(tmp_path, "one", shifted, 3, group_column="REGION", min_group_size=5, log_columns=["PURCHASES"])
    assert members(make_scores(tmp_path, shifted)) == members(read_rows(tmp_path, "one"))


def test_a_group_that_pandas_has_written_as_a_float_is_the_same_group(tmp_path):
    regional = THREE.assign(REGION=np.arange(120) % 3 + 1)
    regional["BALANCE"] += 50_000 * regional["REGION"]
    make_run(tmp_path, "one", regional.astype({"REGION": "str"}), 3, group_column="REGION", min_group_size=5)
    assert members(make_scores(tmp_path, regional.astype({"REGION": "float"}))) == members(read_rows(tmp_path, "one"))


@pytest.mark.parametrize(("n_unknown", "warns"), [(6, False), (7, True)])
def test_customers_in_an_unknown_group_are_counted_and_many_of_them_are_warned_of(tmp_path, caplog, n_unknown, warns):
    caplog.set_level(logging.INFO)
    regional = THREE.assign(REGION="1")
    make_run(tmp_path, "one", regional, 3, group_column="REGION")
    caplog.clear()
    make_scores(tmp_path, regional.assign(REGION=["9"] * (n_unknown - 1) + [""] + ["1.0"] * (120 - n_unknown)))
    assert (
        f"standardised like all customers together: {n_unknown - 1} with a REGION that was not there in training" in caplog.text
    )
    assert "standardised like all customers together: 1 with no REGION" in caplog.text
    assert any("more than 5%" in record.getMessage() for record in caplog.records if record.levelname == "WARNING") is warns


def test_the_last_row_of_a_customer_counts_whatever_part_of_the_file_it_is_in(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("services.segment.score._ROWS_PER_PART", 2)
    make_run(tmp_path, "one", THREE, 3)
    updated = table(THREE.iloc[:3], THREE.iloc[[119]].assign(CUST_ID="savers-1"), THREE.iloc[[2]], THREE.iloc[[0]])
    (tmp_path / "data").mkdir()
    updated.to_csv(tmp_path / "data/new.csv", index=False)
    with Workspace(PIPELINE, "score", tmp_path, "new") as work:
        assert score.main(ScoreSettings(volume=tmp_path, score="data/new.csv"), work)["duplicates_dropped"] == 3
        commit(work)
    rows = [row for part in sorted((tmp_path / "scores/new/segments").iterdir()) for row in read_csv(part)]
    assert [(row["CUST_ID"], row["segment_id"]) for row in rows] == [("savers-1", "3"), ("savers-2", "1"), ("savers-0", "1")]
    assert "dropped 3 rows with a duplicate CUST_ID" in caplog.text


def test_files_of_one_name_in_several_folders_get_folders_of_their_own():
    def folder(path: str) -> str:
        return run_folder(ScoreSettings(score=path).run)

    assert folder("data/s.csv") == "s"
    assert (
        len({folder(path) for path in ("data/s.csv", "data/q/s.csv", "s.csv", "s", "data/s", "data/s.txt", "data/S.csv")}) == 7
    )
    assert ScoreSettings(score="data/q/s.csv", run="mine").run == "mine"


def test_a_customer_on_the_centroid_of_a_segment_of_one_is_no_outlier(tmp_path):
    alone = group("rich", 1)
    make_run(tmp_path, "one", table(THREE, alone), 4)
    (row,) = make_scores(tmp_path, alone.assign(CUST_ID="other", BALANCE=alone["BALANCE"] + 1))
    assert (row["segment_id"], row["is_outlier"]) == ("4", "no")
    assert float(row["confidence"]) > 0.99


def test_an_unpublished_run_does_not_score(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    prepare(tmp_path, "two", table(THREE, group("rich", 30)), 4, fails=["the silhouette is 0.000, less than 0.25"])
    assert not segment(tmp_path, "two")["published"]
    assert {row["segment_id"] for row in make_scores(tmp_path, group("rich", 5))} == {"3"}


def test_without_active_segments_scoring_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no segments are active"):
        make_scores(tmp_path, THREE)


def test_a_file_that_lacks_a_feature_is_refused(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    with pytest.raises(DataError, match=r"new\.csv row 1: column 'PURCHASES' is missing"):
        make_scores(tmp_path, THREE.drop(columns="PURCHASES"))


def test_customers_without_an_id_are_scored_and_not_recognised(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    rows = make_scores(tmp_path, THREE.drop(columns="CUST_ID"))
    assert [row["CUST_ID"] for row in rows[:2]] == ["1", "2"]
    assert [row["segment_id"] for row in rows] == [row["segment_id"] for row in read_rows(tmp_path, "one")]
    assert {row["previous_segment_id"] for row in rows} == {""}


def test_scoring_is_one_command_without_a_run(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    (tmp_path / "data").mkdir()
    THREE.to_csv(tmp_path / "data/New customers.csv", index=False)
    code, out, _ = finish(start(tmp_path, "--score", "data/New customers.csv"))
    result = json.loads(out)
    assert code == 0
    assert (result["rows"], result["active_run"], result["unassigned"]) == (120, "one", 0)
    assert len(read_csv(tmp_path / result["scores"])) == 120
    manifest = json.loads((tmp_path / result["scores"]).with_name("manifest.json").read_text())
    assert [item["name"] for item in manifest["inputs"]] == [
        "data/New customers.csv",
        "model/published/000001-one/segmenter.pkl",
        "model/published/000001-one/segments.csv",
    ]
    code, out, line = finish(start(tmp_path, "--score", "data/none.csv"))
    assert (code, out) == (66, "")
    assert "score: failed (66, missing input): there is no file data/none.csv" in line


def score_file(volume, name: str, content: str | bytes, **settings) -> list[dict[str, str]]:
    (volume / "data").mkdir(exist_ok=True)
    (volume / "data" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with Workspace(PIPELINE, "score", volume, "new") as work:
        score.main(ScoreSettings(volume=volume, score=f"data/{name}", **settings), work)
        (draft,) = work.folder.pending(artifacts.SCORES)
        return read_csv(draft.path)


def test_a_file_to_be_scored_is_read_as_strictly_as_any_table(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    (row,) = score_file(tmp_path, "new.csv", "CREDIT_LIMIT,X,CUST_ID,BALANCE,PURCHASES\n1000,a,007,,2\n")
    assert (row["CUST_ID"], row["reason"]) == ("007", "no value for BALANCE")
    with pytest.raises(DataError, match=r"^new\.csv row 2: PURCHASES is 'abc', expected a number; 2 faults"):
        score_file(tmp_path, "new.csv", "CREDIT_LIMIT,CUST_ID,BALANCE,PURCHASES\n1000,A,1,abc\n1000,,1,2\n")
    assert [row["row"] for row in read_csv(tmp_path / "scores/new/faults.csv")] == ["2", "3"]
    with pytest.raises(DataError, match="no rows"):
        score_file(tmp_path, "new.csv", "CREDIT_LIMIT,CUST_ID,BALANCE,PURCHASES\n")


def test_a_file_to_be_scored_may_be_written_in_the_users_own_way(tmp_path):
    make_run(tmp_path, "one", THREE, 3)
    own = THREE.rename(columns={"CUST_ID": "customer"})
    csv = own.to_csv(index=False, sep=";", decimal=",")
    settings = {"id_column": "customer", "delimiter": ";", "decimal": ","}
    expected = members(read_rows(tmp_path, "one"))
    assert members(score_file(tmp_path, "new.csv.gz", gzip.compress(csv.encode()), **settings)) == expected
    duckdb.from_df(own).write_parquet(str(tmp_path / "new.parquet"))
    parquet = (tmp_path / "new.parquet").read_bytes()
    assert members(score_file(tmp_path, "new.parquet", parquet, id_column="customer")) == expected
