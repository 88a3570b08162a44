"""The history of runs: entries that survive, are replaced, and are checked on reading."""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from stagekit.errors import SetupError, TransientError
from stagekit.volume import files, history
from stagekit.volume.history import HistoryEntry, read_history, record_run

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)


class Entry(HistoryEntry):
    k: int


def entry(run, week=0, k=3):
    return Entry(run=run, started=MONDAY + timedelta(weeks=week), k=k)


def test_without_a_file_the_history_is_empty(tmp_path):
    assert read_history(tmp_path, Entry) == []
    assert not (tmp_path / "history").exists()


def test_entries_come_back_in_the_order_in_which_the_runs_started(tmp_path):
    for one in (entry("second", 1), entry("first", 0), entry("manual__2026-11-16T09:00:00+00:00", 2)):
        record_run(tmp_path, one)
    assert [one.run for one in read_history(tmp_path, Entry)] == ["first", "second", "manual__2026-11-16T09:00:00+00:00"]


def test_a_retry_replaces_the_entry_of_its_run(tmp_path):
    record_run(tmp_path, entry("a", k=3))
    record_run(tmp_path, entry("b", k=4))
    record_run(tmp_path, entry("a", k=5))
    assert [(one.run, one.k) for one in read_history(tmp_path, Entry)] == [("a", 5), ("b", 4)]


def test_the_oldest_runs_beyond_the_maximum_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_RUNS", 2)
    for week, run in enumerate("abc"):
        record_run(tmp_path, entry(run, week))
    assert [one.run for one in read_history(tmp_path, Entry)] == ["b", "c"]


def test_runs_that_end_at_the_same_time_are_all_recorded(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: record_run(tmp_path, entry(f"run-{number}")), range(24)))
    assert len(read_history(tmp_path, Entry)) == 24


DAMAGED = (b"", b"{", b"[]", b'{"runs": 3}', b"\xff", b"[" * 100_000, b'{"runs": [{"run": "a"}]}', b'{"runs": [null]}')


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_reported_and_kept_beside_a_new_one(tmp_path, caplog, text):
    (tmp_path / "history").mkdir()
    (tmp_path / "history/runs.json").write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert read_history(tmp_path, Entry) == []
        record_run(tmp_path, entry("new"))
    assert caplog.text.count("history/runs.json is damaged") == 2
    assert (tmp_path / "history/runs.damaged-1.json").read_bytes() == text
    assert read_history(tmp_path, Entry) == [entry("new")]


def test_the_valid_entries_of_a_damaged_file_are_kept(tmp_path):
    record_run(tmp_path, entry("a", 0))
    record_run(tmp_path, entry("b", 1))
    path = tmp_path / "history/runs.json"
    path.write_text(path.read_text().replace('"k":3', '"k":"many"', 1))
    record_run(tmp_path, entry("c", 2))
    assert [one.run for one in read_history(tmp_path, Entry)] == ["b", "c"]
    path.write_text("x")
    record_run(tmp_path, entry("d", 3))
    assert {file.name for file in path.parent.glob("*.json")} == {"runs.json", "runs.damaged-1.json", "runs.damaged-2.json"}


@pytest.mark.parametrize(
    "change", [{"started": "2026-11-02T09:00:00"}, {"started": 1e400}, {"k": float("nan")}, {"run": "\ud800"}]
)
def test_an_entry_with_an_impossible_value_is_left_out(tmp_path, change):
    (tmp_path / "history").mkdir()
    fields = json.loads(entry("a").model_dump_json()) | change
    (tmp_path / "history/runs.json").write_text(json.dumps({"runs": [fields]}))
    assert read_history(tmp_path, Entry) == []


def test_fields_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "history").mkdir()
    fields = json.loads(entry("a").model_dump_json()) | {"colour": "red"}
    (tmp_path / "history/runs.json").write_text(json.dumps({"schema_version": 2, "runs": [fields]}))
    assert read_history(tmp_path, Entry) == [entry("a")]


@pytest.mark.parametrize("link", ["history", "history/runs.json"])
def test_a_link_out_of_the_volume_is_not_followed(tmp_path, link):
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    volume.mkdir()
    outside.mkdir()
    record_run(outside, entry("theirs"))
    if link == "history":
        (volume / "history").symlink_to(outside / "history")
        with pytest.raises(SetupError, match="leads out of the volume"):
            record_run(volume, entry("ours"))
    else:
        (volume / "history").mkdir()
        (volume / link).symlink_to(outside / link)
        record_run(volume, entry("ours"))
        assert read_history(volume, Entry) == [entry("ours")]
    assert read_history(outside, Entry) == [entry("theirs")]


def test_a_lock_that_is_never_released_is_a_transient_error(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_MAX_WAIT_S", 0.1)
    record_run(tmp_path, entry("a"))
    lock = files.lock(tmp_path / "history")
    with pytest.raises(TransientError, match="in use by another process"):
        record_run(tmp_path, entry("b"))
    os.close(lock)
