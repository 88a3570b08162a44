"""model/: whatever happens on the way, those who read it see one whole run."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stagekit.errors import DataError, MissingInputError, SetupError, TransientError
from stagekit.volume import files
from stagekit.volume.files import record
from stagekit.volume.manifest import Manifest
from stagekit.volume.model_store import ModelStore
from stagekit.volume.pickles import load_pickle
from stagekit.volume.registry import KEPT, Contents, Register, RegisteredSegment
from stagekit.volume.workspace import MODEL, SEGMENTER, SEGMENTS, Workspace

NAMES = ("segmenter.pkl", "segments.csv")
CONTENTS = Contents(segments={1: "all"}, deciles={})


def publish(volume: Path, run: str) -> None:
    """Publish two files that both hold the name of the run."""
    folder = volume / "sources" / run
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name in NAMES:
        (folder / name).write_text(run * 1000)
        with (folder / name).open("rb") as file:
            sources.append((folder / name, record(file, name)))
    model = ModelStore(volume)
    lock = model.lock()
    try:
        register = model.read().with_entry(run, ())
        model.publish(register, run, CONTENTS, sources)
    finally:
        os.close(lock)


def read_in_force(volume: Path) -> str:
    """Read both files of the run in force; returns its name after checking that each is whole and of that run."""
    model = ModelStore(volume)
    register = model.read()
    for name in NAMES:
        file, _ = model.open(register.entry(register.in_force), name)
        with file:
            assert file.read().decode() == register.in_force * 1000
    return register.in_force


def folders(volume: Path) -> list[str]:
    return sorted(path.name for path in (volume / "model/published").iterdir())


def test_before_anything_is_published_the_register_is_empty(tmp_path):
    assert ModelStore(tmp_path).read() == Register()


@pytest.mark.parametrize("text", ["{}", '{"schema_version": 1, "in_force": "ghost"}'])
def test_a_register_that_something_else_wrote_is_not_taken_for_an_empty_one(tmp_path, text):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/segments.json").write_text(text)
    with pytest.raises(
        DataError, match=r"segments\.json cannot be read \(it has no sha256 of itself.*restore it from a backup"
    ):
        ModelStore(tmp_path).read()


@pytest.mark.parametrize("link", ["model", "model/published"])
def test_nothing_is_read_or_written_through_a_link_that_leads_out_of_the_volume(tmp_path, link):
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    outside.mkdir()
    (volume / link).parent.mkdir(parents=True)
    (volume / link).symlink_to(outside)
    for use in (ModelStore(volume).lock, ModelStore(volume).read):
        with pytest.raises(SetupError, match="leads out of the volume"):
            use()
    assert not list(outside.iterdir())


def test_what_was_published_last_is_in_force(tmp_path):
    publish(tmp_path, "one")
    publish(tmp_path, "two")
    assert read_in_force(tmp_path) == "two"
    assert ModelStore(tmp_path).read().entry("two").predecessor == "one"


def test_only_the_last_runs_keep_their_files(tmp_path):
    for number in range(KEPT + 3):
        publish(tmp_path, f"run{number}")
    assert len(folders(tmp_path)) == KEPT
    register = ModelStore(tmp_path).read()
    assert [entry.run for entry in register.kept()] == [f"run{number}" for number in range(KEPT + 2, 2, -1)]
    assert len(register.runs) == KEPT + 3
    with pytest.raises(MissingInputError, match="run run0 has not published"):
        ModelStore(tmp_path).open(register.entry("run0"), "segments.csv")


def test_publishing_a_run_again_replaces_its_files_and_keeps_its_place(tmp_path):
    for run in ("one", "two", "two"):
        publish(tmp_path, run)
    assert folders(tmp_path) == ["000001-one", "000003-two"]
    register = ModelStore(tmp_path).read()
    assert [entry.run for entry in register.runs] == ["one", "two"]
    assert register.entry("two").predecessor == "one"


@pytest.mark.parametrize("name", NAMES)
def test_a_published_file_that_was_changed_is_not_read(tmp_path, name):
    publish(tmp_path, "one")
    path = tmp_path / "model/published/000001-one" / name
    path.write_text("two" * 1000)
    with pytest.raises(DataError, match=f"{name} has sha256 .* run segment for run one again"):
        ModelStore(tmp_path).open(ModelStore(tmp_path).read().entry("one"), name)


def test_a_published_file_that_was_removed_is_missed(tmp_path):
    publish(tmp_path, "one")
    (tmp_path / "model/published/000001-one/segments.csv").unlink()
    with pytest.raises(MissingInputError, match=r"segments\.csv is missing: run segment for run one again"):
        ModelStore(tmp_path).open(ModelStore(tmp_path).read().entry("one"), "segments.csv")


def test_what_a_run_never_published_is_missed(tmp_path):
    publish(tmp_path, "one")
    model = ModelStore(tmp_path)
    entry = model.read().with_entry("two", ()).entry("two")
    for published in (model.read().entry("one"), entry):
        with pytest.raises(MissingInputError, match=rf"run {published.run} has not published profile\.csv: run segment for it"):
            model.open(published, "profile.csv")
        with pytest.raises(MissingInputError, match=rf"run {published.run} has not published profile\.csv: run segment for it"):
            model.names(published, "profile.csv")


def test_a_file_that_changes_while_it_is_published_does_not_come_into_force(tmp_path):
    publish(tmp_path, "one")
    model, source = ModelStore(tmp_path), tmp_path / "segments.csv"
    source.write_text("before")
    with source.open("rb") as file:
        expected = record(file, "segments.csv")
    source.write_text("after")
    with pytest.raises(TransientError, match=r"segments\.csv changed while it was published: run again"):
        model.publish(model.read().with_entry("two", ()), "two", CONTENTS, [(source, expected)])
    assert read_in_force(tmp_path) == "one"
    assert folders(tmp_path) == ["000001-one"]


def test_who_reads_while_another_run_is_published_is_told_to_try_again(tmp_path):
    publish(tmp_path, "one")
    seen = ModelStore(tmp_path).read().entry("one")
    publish(tmp_path, "one")
    with pytest.raises(TransientError, match="run again"):
        ModelStore(tmp_path).open(seen, "segments.csv")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"runs": [{}]}', "\0"])
def test_a_register_that_is_none_is_refused_in_one_line(tmp_path, text):
    publish(tmp_path, "one")
    (tmp_path / "model/segments.json").write_text(text)
    with pytest.raises(DataError, match=r"model/segments\.json cannot be read") as error:
        ModelStore(tmp_path).read()
    assert "\n" not in str(error.value)


def test_only_one_process_publishes_segments_at_a_time(tmp_path):
    lock = ModelStore(tmp_path).lock()
    with pytest.raises(TransientError, match="in use by another process"):
        publish(tmp_path, "one")
    os.close(lock)
    publish(tmp_path, "one")


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_killed_after_any_step_leaves_one_whole_run_in_force_and_no_trace_later(tmp_path, monkeypatch):
    publish(tmp_path, "one")
    steps = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise Killed
            return function(*arguments, **options)

        return call

    for step in range(100):
        with monkeypatch.context() as patched:
            steps = step
            for owner, name in ((files, "copy"), (files, "write"), (files, "sync"), (Path, "rename"), (Path, "mkdir")):
                patched.setattr(owner, name, counted(getattr(owner, name)))
            patched.setattr("shutil.rmtree", counted(__import__("shutil").rmtree))
            try:
                publish(tmp_path, "two")
            except Killed:
                pass
            else:
                break
        assert read_in_force(tmp_path) in ("one", "two")
        if read_in_force(tmp_path) == "two":
            publish(tmp_path, "one")
    assert 10 < step < 99
    assert read_in_force(tmp_path) == "two"
    assert len(folders(tmp_path)) == 2
    assert not list((tmp_path / "model").rglob("*.tmp"))


LOOP = """
import itertools, sys
from pathlib import Path
from tests.contract.test_publishing import publish
for number in itertools.count():
    publish(Path(sys.argv[1]), f"run{number % 7}")
    print(number, flush=True)
"""


def test_killed_at_random_leaves_one_whole_run_in_force(tmp_path):
    publish(tmp_path, "first")
    seed = random.Random(7)
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(seed.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        read_in_force(tmp_path)
    publish(tmp_path, "last")
    assert read_in_force(tmp_path) == "last"
    assert not list((tmp_path / "model").rglob("*.tmp"))
    assert len(folders(tmp_path)) <= KEPT


def commit(work: Workspace) -> None:
    now = datetime.now(UTC)
    empty = {"settings": {}, "setting_sources": {}, "result": None, "image": None, "versions": {}, "exit_reason": "done"}
    outputs = tuple(work.outputs)
    work.commit(Manifest(run=work.run, stage=work.stage, inputs=(), outputs=outputs, started=now, ended=now, **empty))


def train(volume: Path, run: str, model: object) -> None:
    with Workspace(volume, run, "train", {}) as work:
        work.save(MODEL, model)
        commit(work)


def test_a_single_file_of_an_earlier_stage_is_published_once_the_stage_has_happened(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/kmeans_custom.sav.tmp").write_text("what a killed process left")
    for number in (1, 2):
        train(tmp_path, f"run{number}", [number])
        assert (tmp_path / "model/kmeans_custom.sav").exists() == (number == 2)
        with Workspace(tmp_path, f"run{number}", "segment", {}) as work:
            work.register(hold=True)
            work.publish(MODEL)
            assert (tmp_path / "model/kmeans_custom.sav").exists() == (number == 2)
            commit(work)
        with (tmp_path / "model/kmeans_custom.sav").open("rb") as file:
            assert load_pickle(file, "") == [number]
    assert not list((tmp_path / "model").glob("*.tmp"))


def test_a_damaged_file_is_refused_before_anything_is_published(tmp_path):
    train(tmp_path, "demo", [1])
    (tmp_path / "runs/demo/train/kmeans_custom.sav").write_text("damaged")
    with Workspace(tmp_path, "demo", "segment", {}) as work:
        work.register(hold=True)
        with pytest.raises(DataError, match=r"train/kmeans_custom\.sav has sha256 .*; run train again"):
            work.publish(MODEL)


def test_a_single_file_that_changes_while_it_is_published_replaces_nothing(tmp_path):
    train(tmp_path, "demo", [1])
    (tmp_path / "model").mkdir()
    (tmp_path / "model/kmeans_custom.sav").write_text("before")
    with Workspace(tmp_path, "demo", "segment", {}) as work:
        work.register(hold=True)
        work.publish(MODEL)
        (tmp_path / "runs/demo/train/kmeans_custom.sav").write_text("changed")
        with pytest.raises(TransientError, match=r"kmeans_custom\.sav changed while it was published: run again"):
            commit(work)
    assert (tmp_path / "model/kmeans_custom.sav").read_text() == "before"
    assert not list((tmp_path / "model").glob("*.tmp"))


def test_a_stage_publishes_only_once_it_has_happened(tmp_path):
    with Workspace(tmp_path, "demo", "segment", {}) as work:
        work.save(SEGMENTS, "a\n")
        work.save(SEGMENTER, [1])
        work.enter_register(work.register(hold=True).with_entry("demo", ()), CONTENTS, [SEGMENTS, SEGMENTER])
        assert ModelStore(tmp_path).read() == Register()
        commit(work)
    assert ModelStore(tmp_path).read().in_force == "demo"
    with Workspace(tmp_path, "other", "segment", {}) as work:
        entry = work.register(hold=False).entry("demo")
        assert [file.read() for file in work.open_published(entry, SEGMENTS)] == [b"a\n"]
        assert work.load_published(entry, SEGMENTER) == [1]
        assert [item.name for item in work.inputs] == [
            f"model/published/000001-demo/{name}" for name in ("segments.csv", "segmenter.pkl")
        ]


def test_what_has_parts_is_published_in_parts_and_read_one_after_the_other(tmp_path):
    with Workspace(tmp_path, "demo", "segment", {}) as work:
        for text in ("a\n", "b\n"):
            work.save(SEGMENTS, text)
        work.enter_register(work.register(hold=True).with_entry("demo", ()), CONTENTS, [SEGMENTS])
        commit(work)
    with Workspace(tmp_path, "other", "score", {}) as work:
        entry = work.register(hold=False).entry("demo")
        texts = work.open_published(entry, SEGMENTS)
        assert next(texts).read() == b"a\n"
        (tmp_path / "model/published/000001-demo/segments/00001.csv").write_text("c\n")
        with pytest.raises(DataError, match=r"segments/00001\.csv has sha256"):
            next(texts)
    assert not (tmp_path / "model/published/000001-demo/segments.csv").exists()


def test_a_run_that_is_held_back_changes_nothing_in_force(tmp_path):
    publish(tmp_path, "one")
    model = ModelStore(tmp_path)
    lock = model.lock()
    known = RegisteredSegment(segment_id=9, name="new", run="two", centroid={})
    model.write(model.read().with_entry("two", (known,)))
    os.close(lock)
    assert read_in_force(tmp_path) == "one"
    assert model.read().segments == (known,)
    assert model.read().entry("two").publication is None
