"""The files for a CRM, from publications that are made by the stage that makes them."""

import json
import shutil

import pytest

from services.contract.artifacts import SEGMENTS
from services.contract.results import CHANGED_COLUMNS
from services.pipeline import PIPELINE
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.model_store import ModelStore
from stagekit.volume.runs import run_folder
from tests.chaos import processes
from tests.services.segment.runs import group, make_run, read_csv, read_register, table

BEFORE = table(group("savers", 60), group("borrowers", 40), group("buyers", 20))


def list_changes(volume, run):
    """Run the stage as a process; returns exit code, result and the last line that it logged."""
    code, log = processes.run(volume, "changes", f"--run={run}")
    manifest = volume / "runs" / run_folder(run) / "changes" / MANIFEST_NAME
    return code, None if code else json.loads(manifest.read_text())["result"], log.splitlines()[-1]


def read_crm(volume, run):
    return read_csv(volume / "runs" / run_folder(run) / "changes/crm.csv")


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


NO_CHANGES = {"new": 0, "departed": 0, "moved": 0, "renamed": 0}


def test_the_first_publication_has_every_customer_in_the_crm_file_and_no_changes(volume):
    assert list_changes(volume, "one")[:2] == (0, {"run": "one", "customers": 120, **NO_CHANGES})
    assert changed(volume, "one") == []
    assert [row["CUST_ID"] for row in read_crm(volume, "one")] == BEFORE["CUST_ID"].tolist()


def test_moved_new_and_departed_customers_are_listed_with_both_segments_and_the_date(volume):
    list_changes(volume, "one")
    code, result, _ = list_changes(volume, "two")
    assert (code, result) == (0, {"run": "two", "customers": 120, **NO_CHANGES, "new": 1, "departed": 1, "moved": 4})
    rows = changed(volume, "two")
    assert list(rows[0]) == list(CHANGED_COLUMNS)
    entry = read_register(volume).entry("two")
    names, today = entry.publication.segments, entry.first_published.date().isoformat()
    savers, buyers = (int(rows[0][f"{side}_segment_id"]) for side in ("from", "to"))
    assert savers != buyers
    moved = {"from_segment_id": str(savers), "from_segment_name": names[savers]}
    moved |= {"to_segment_id": str(buyers), "to_segment_name": names[buyers], "change": "moved", "since": today}
    assert rows[:3] == [{"CUST_ID": f"savers-{number}", **moved} for number in range(3)]
    assert [(row["CUST_ID"], row["to_segment_name"], row["change"]) for row in rows[3:]] == [
        ("savers-3", "(no segment)", "moved"),
        ("new-0", names[int(rows[4]["to_segment_id"])], "new"),
        ("savers-4", "", "departed"),
    ]


def test_the_dates_come_from_the_crm_file_of_the_previous_publication_unless_it_is_of_an_earlier_one(volume):
    list_changes(volume, "one")
    path = volume / "runs/one/changes/crm.csv"
    [first_day] = {row["since"] for row in read_crm(volume, "one")}
    list_changes(volume, "two")
    inputs = json.loads((volume / "runs/two/changes" / MANIFEST_NAME).read_text())["inputs"]
    assert [record["name"] for record in inputs][-1] == "runs/one/changes/crm.csv"
    path.write_text(path.read_text().replace(first_day, "1999-01-01"))
    code, _, message = list_changes(volume, "two")
    assert code == 65
    assert "was changed or damaged" in message
    path.unlink()
    path.with_name(MANIFEST_NAME).unlink()
    assert list_changes(volume, "two")[0] == 0
    assert first_day in {row["since"] for row in read_crm(volume, "two")}


def test_the_manifest_names_the_publications_that_were_read(volume):
    list_changes(volume, "two")
    manifest = json.loads((volume / "runs/two/changes" / MANIFEST_NAME).read_text())
    publication = read_register(volume).entry("two").publication
    [published] = [record for record in publication.files if record.name == SEGMENTS.name]
    assert manifest["inputs"][0]["sha256"] == published.sha256


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
    code, _, message = list_changes(volume, "three")
    assert code == 66
    assert "run three has published no segments that are still kept: name one that has (two, one)" in message
    assert not (volume / "runs/three/changes/changed.csv").exists()


def test_a_run_whose_predecessor_is_no_longer_kept_is_refused(volume, tmp_path):
    copy = shutil.copytree(volume, tmp_path / "volume")
    store = ModelStore(copy, PIPELINE)
    register = store.read_registry()
    runs = tuple(entry.model_copy(update={"publication": None}) if entry.run == "one" else entry for entry in register.runs)
    store.write_registry(register.model_copy(update={"runs": runs}))
    code, _, message = list_changes(copy, "two")
    assert code == 66
    assert "run two followed run one, of which nothing is kept any more: name a later run (two)" in message


def test_a_run_that_was_held_back_is_refused(tmp_path):
    make_run(tmp_path, "one", BEFORE, 3, failed_checks=["the silhouette is 0.100, less than 0.25"])
    code, _, message = list_changes(tmp_path, "one")
    assert code == 66
    assert "(none yet)" in message
