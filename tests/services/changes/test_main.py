"""Who changed segment, from publications that are made by the stage that makes them."""

import json
import subprocess
import sys

import pytest

from services.contract.artifacts import SEGMENTS
from services.contract.results import CHANGED_COLUMNS
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder
from tests.services.segment.runs import group, make_run, read_csv, read_register, table

BEFORE = table(group("savers", 60), group("borrowers", 40), group("buyers", 20))


def list_changes(volume, run):
    """Start the stage as a process; returns exit code, result and the last line that it logged."""
    command = [sys.executable, "-m", "services.changes", "--volume", str(volume), "--run", run]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return ended.returncode, json.loads(ended.stdout or "null"), ended.stderr.splitlines()[-1]


def changed(volume, run):
    return read_csv(volume / "runs" / run_folder(run) / "changes/changed.csv")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """Two publications: in the second one, three savers have become buyers, one is unfit, one has left, one is new."""
    volume = tmp_path_factory.mktemp("volume")
    make_run(volume, "one", BEFORE, 3)
    after = BEFORE.copy()
    after.iloc[:3, 1:] = BEFORE.iloc[-3:, 1:].to_numpy()
    after.loc[3, "BALANCE"] = None
    after = table(after.drop(index=4), group("borrowers", 1, seed=1, prefix="new"))
    make_run(volume, "two", after, 3)
    return volume


def test_the_first_publication_has_changed_nobody(volume):
    assert list_changes(volume, "one")[:2] == (0, {"run": "one", "customers": 120, "changed": 0})
    assert changed(volume, "one") == []


def test_who_is_in_another_segment_is_listed_with_both_by_number_and_name(volume):
    code, result, _ = list_changes(volume, "two")
    assert (code, result) == (0, {"run": "two", "customers": 120, "changed": 4})
    rows = changed(volume, "two")
    assert list(rows[0]) == list(CHANGED_COLUMNS)
    names = read_register(volume).entry("two").publication.segments
    savers, buyers = (int(rows[0][f"{side}_segment_id"]) for side in ("from", "to"))
    assert savers != buyers
    moved = {"from_segment_id": str(savers), "from_segment_name": names[savers]}
    moved |= {"to_segment_id": str(buyers), "to_segment_name": names[buyers]}
    assert rows[:3] == [{"CUST_ID": f"savers-{number}", **moved} for number in range(3)]


def test_who_has_lost_the_segment_is_listed_and_who_is_new_or_gone_is_not(volume):
    list_changes(volume, "two")
    rows = {row["CUST_ID"]: row for row in changed(volume, "two")}
    assert rows["savers-3"]["to_segment_id"] == ""
    assert rows["savers-3"]["to_segment_name"] == "(no segment)"
    assert set(rows) == {f"savers-{number}" for number in range(4)}


def test_the_manifest_names_what_was_read_and_how_it_looked(volume):
    list_changes(volume, "two")
    manifest = json.loads((volume / "runs/two/changes" / MANIFEST_NAME).read_text())
    publication = read_register(volume).entry("two").publication
    [published] = [record for record in publication.files if record.name == SEGMENTS.name]
    assert [record["sha256"] for record in manifest["inputs"]] == [published.sha256]


def test_what_the_run_did_after_it_was_published_does_not_matter(volume, tmp_path):
    list_changes(volume, "two")
    before = changed(volume, "two")
    segments = volume / "runs/two/segment"
    segments.rename(tmp_path / "away")
    try:
        assert list_changes(volume, "two")[0] == 0
    finally:
        (tmp_path / "away").rename(segments)
    assert changed(volume, "two") == before


def test_a_run_that_has_published_nothing_is_refused_with_those_that_have(volume):
    code, _, said = list_changes(volume, "three")
    assert code == 66
    assert "run three has published no segments that are still kept: name one that has (two, one)" in said
    assert not (volume / "runs/three/changes/changed.csv").exists()


def test_a_run_that_was_held_back_is_refused(tmp_path):
    make_run(tmp_path, "one", BEFORE, 3, fails=["the silhouette is 0.100, less than 0.25"])
    code, _, said = list_changes(tmp_path, "one")
    assert code == 66
    assert "(none yet)" in said


def test_a_published_file_that_was_changed_is_refused(tmp_path):
    make_run(tmp_path, "one", BEFORE, 3)
    [path] = tmp_path.glob("model/published/*/segments.csv")
    path.write_text(path.read_text().replace("savers-0", "savers-x"))
    code, _, said = list_changes(tmp_path, "one")
    assert code == 65
    assert "it was changed or damaged" in said
