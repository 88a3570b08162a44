"""model/: whatever happens on the way, those who read it see one whole run."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagekit.errors import DataError, MissingInputError, SetupError, TransientError
from stagekit.volume import files
from stagekit.volume.files import digest_open_file
from stagekit.volume.model_store import ModelStore
from stagekit.volume.registry import MAX_KEPT_RUNS, Registry
from stagekit.volume.workspace import Workspace
from tests.conftest import IS_CI
from tests.stagekit.declaration import LISTING, MEANS, MODEL, PICKLE, PIPELINE, RANKS
from tests.stagekit.manifests import commit

NAMES = ("model.pkl", "listing.csv")


def publish(volume: Path, run: str) -> None:
    """Publish two files that both hold the name of the run."""
    folder = volume / "sources" / run
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name in NAMES:
        (folder / name).write_text(run * 1000)
        with (folder / name).open("rb") as file:
            sources.append((folder / name, digest_open_file(file, name)))
    model = ModelStore(volume, PIPELINE)
    lock = model.lock()
    try:
        register = model.read_registry().with_run(run)
        model.publish(register, run, {}, sources)
    finally:
        os.close(lock)


def read_in_force(volume: Path) -> str:
    """Read both files of the active run; return its name after checking that each is complete and of that run."""
    model = ModelStore(volume, PIPELINE)
    register = model.read_registry()
    for name in NAMES:
        file, _ = model.open(register.entry(register.active_run), name)
        with file:
            assert file.read().decode() == register.active_run * 1000
    return register.active_run


def folders(volume: Path) -> list[str]:
    return sorted(path.name for path in (volume / "model/published").iterdir())


def test_before_the_first_publication_the_registry_is_empty(tmp_path):
    assert ModelStore(tmp_path, PIPELINE).read_registry() == Registry()


@pytest.mark.parametrize("text", ["{}", '{"schema_version": 1, "in_force": "ghost"}'])
def test_a_register_that_something_else_wrote_is_not_taken_for_an_empty_one(tmp_path, text):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/registry.json").write_text(text)
    with pytest.raises(
        DataError, match=r"registry\.json cannot be read \(it contains no sha256 of itself.*restore it from a backup"
    ):
        ModelStore(tmp_path, PIPELINE).read_registry()


@pytest.mark.parametrize("link", ["model", "model/published"])
def test_nothing_is_read_or_written_through_a_link_that_leads_out_of_the_volume(tmp_path, link):
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    outside.mkdir()
    (volume / link).parent.mkdir(parents=True)
    (volume / link).symlink_to(outside)
    for use in (ModelStore(volume, PIPELINE).lock, ModelStore(volume, PIPELINE).read_registry):
        with pytest.raises(SetupError, match="leads out of the volume"):
            use()
    assert not list(outside.iterdir())


def test_the_last_published_run_is_active(tmp_path):
    publish(tmp_path, "one")
    publish(tmp_path, "two")
    assert read_in_force(tmp_path) == "two"
    assert ModelStore(tmp_path, PIPELINE).read_registry().entry("two").predecessor == "one"


def test_only_the_last_runs_keep_their_files(tmp_path):
    for number in range(MAX_KEPT_RUNS + 3):
        publish(tmp_path, f"run{number}")
    assert len(folders(tmp_path)) == MAX_KEPT_RUNS
    register = ModelStore(tmp_path, PIPELINE).read_registry()
    assert [entry.run for entry in register.kept_runs()] == [f"run{number}" for number in range(MAX_KEPT_RUNS + 2, 2, -1)]
    assert len(register.runs) == MAX_KEPT_RUNS + 3
    with pytest.raises(MissingInputError, match="run run0 has not published"):
        ModelStore(tmp_path, PIPELINE).open(register.entry("run0"), "listing.csv")


def test_publishing_a_run_again_replaces_its_files_and_keeps_its_place(tmp_path):
    for run in ("one", "two", "two"):
        publish(tmp_path, run)
    assert folders(tmp_path) == ["000001-one", "000003-two"]
    register = ModelStore(tmp_path, PIPELINE).read_registry()
    assert [entry.run for entry in register.runs] == ["one", "two"]
    assert register.entry("two").predecessor == "one"


@pytest.mark.parametrize("name", NAMES)
def test_a_published_file_that_was_changed_is_not_read(tmp_path, name):
    publish(tmp_path, "one")
    path = tmp_path / "model/published/000001-one" / name
    path.write_text("two" * 1000)
    with pytest.raises(DataError, match=f"{name} has sha256 .* publish run one again"):
        ModelStore(tmp_path, PIPELINE).open(ModelStore(tmp_path, PIPELINE).read_registry().entry("one"), name)


def test_a_published_file_that_was_removed_is_missed(tmp_path):
    publish(tmp_path, "one")
    (tmp_path / "model/published/000001-one/listing.csv").unlink()
    with pytest.raises(MissingInputError, match=r"listing\.csv is missing: publish run one again"):
        ModelStore(tmp_path, PIPELINE).open(ModelStore(tmp_path, PIPELINE).read_registry().entry("one"), "listing.csv")


def test_an_unpublished_artifact_is_missing(tmp_path):
    publish(tmp_path, "one")
    model = ModelStore(tmp_path, PIPELINE)
    entry = model.read_registry().with_run("two").entry("two")
    for published in (model.read_registry().entry("one"), entry):
        with pytest.raises(MissingInputError, match=rf"run {published.run} has not published profile\.csv: publish run"):
            model.open(published, "profile.csv")


def test_a_file_that_changes_while_it_is_published_does_not_come_into_force(tmp_path):
    publish(tmp_path, "one")
    model, source = ModelStore(tmp_path, PIPELINE), tmp_path / "listing.csv"
    source.write_text("before")
    with source.open("rb") as file:
        expected = digest_open_file(file, "listing.csv")
    source.write_text("after")
    with pytest.raises(TransientError, match=r"listing\.csv changed while it was published: run again"):
        model.publish(model.read_registry().with_run("two"), "two", {}, [(source, expected)])
    assert read_in_force(tmp_path) == "one"
    assert folders(tmp_path) == ["000001-one"]


def test_a_reader_during_a_publication_gets_a_transient_error(tmp_path):
    publish(tmp_path, "one")
    seen = ModelStore(tmp_path, PIPELINE).read_registry().entry("one")
    publish(tmp_path, "one")
    with pytest.raises(TransientError, match="run again"):
        ModelStore(tmp_path, PIPELINE).open(seen, "listing.csv")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"runs": [{}]}', "\0"])
def test_an_invalid_registry_is_rejected_in_one_line(tmp_path, text):
    publish(tmp_path, "one")
    (tmp_path / "model/registry.json").write_text(text)
    with pytest.raises(DataError, match=r"model/registry\.json cannot be read") as error:
        ModelStore(tmp_path, PIPELINE).read_registry()
    assert "\n" not in str(error.value)


def test_only_one_process_publishes_segments_at_a_time(tmp_path):
    lock = ModelStore(tmp_path, PIPELINE).lock()
    with pytest.raises(TransientError, match="in use by another process"):
        publish(tmp_path, "one")
    os.close(lock)
    publish(tmp_path, "one")


class Killed(BaseException):
    """Simulates the end of the process: nothing catches it."""


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
            for owner, name in (
                (files, "copy"),
                (files, "write_and_fsync"),
                (files, "fsync_directory"),
                (Path, "rename"),
                (Path, "mkdir"),
            ):
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
from tests.stagekit.volume.test_model_store import publish
for number in itertools.count():
    publish(Path(sys.argv[1]), f"run{number % 7}")
    print(number, flush=True)
"""


def test_killed_at_random_leaves_one_whole_run_in_force(tmp_path):
    publish(tmp_path, "first")
    seed = random.Random(7)
    for _ in range(10 if IS_CI else 3):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(seed.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        read_in_force(tmp_path)
    publish(tmp_path, "last")
    assert read_in_force(tmp_path) == "last"
    assert not list((tmp_path / "model").rglob("*.tmp"))
    assert len(folders(tmp_path)) <= MAX_KEPT_RUNS


def rank(volume: Path, run: str, model: object) -> None:
    with Workspace(PIPELINE, "rank", volume, run) as work:
        work.save(RANKS, model)
        commit(work)


def test_a_single_file_of_an_earlier_stage_is_published_once_the_stage_has_happened(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/ranks.pkl.tmp").write_text("what a killed process left")
    for number in (1, 2):
        rank(tmp_path, f"run{number}", [number])
        assert (tmp_path / "model/ranks.pkl").exists() == (number == 2)
        with Workspace(PIPELINE, "publish", tmp_path, f"run{number}") as work:
            work.read_registry(lock=True)
            work.publish_after_commit(RANKS)
            assert (tmp_path / "model/ranks.pkl").exists() == (number == 2)
            commit(work)
        with (tmp_path / "model/ranks.pkl").open("rb") as file:
            assert PICKLE.load(file, "") == [number]
    assert not list((tmp_path / "model").glob("*.tmp"))


def test_a_damaged_file_is_rejected_before_anything_is_published(tmp_path):
    rank(tmp_path, "demo", [1])
    (tmp_path / "runs/demo/rank/ranks.pkl").write_text("damaged")
    with Workspace(PIPELINE, "publish", tmp_path, "demo") as work:
        work.read_registry(lock=True)
        with pytest.raises(DataError, match=r"rank/ranks\.pkl has sha256 .*; run rank again"):
            work.publish_after_commit(RANKS)


def test_a_single_file_that_changes_while_it_is_published_replaces_nothing(tmp_path):
    rank(tmp_path, "demo", [1])
    (tmp_path / "model").mkdir()
    (tmp_path / "model/ranks.pkl").write_text("before")
    with Workspace(PIPELINE, "publish", tmp_path, "demo") as work:
        work.read_registry(lock=True)
        work.publish_after_commit(RANKS)
        (tmp_path / "runs/demo/rank/ranks.pkl").write_text("changed")
        with pytest.raises(TransientError, match=r"ranks\.pkl changed while it was published: run again"):
            commit(work)
    assert (tmp_path / "model/ranks.pkl").read_text() == "before"
    assert not list((tmp_path / "model").glob("*.tmp"))


def test_a_stage_publishes_only_once_it_has_happened(tmp_path):
    with Workspace(PIPELINE, "publish", tmp_path, "demo") as work:
        work.save(LISTING, "a\n")
        work.save(MODEL, [1])
        work.update_registry_after_commit(work.read_registry(lock=True).with_run("demo"), {}, [LISTING, MODEL])
        assert ModelStore(tmp_path, PIPELINE).read_registry() == Registry()
        commit(work)
    assert ModelStore(tmp_path, PIPELINE).read_registry().active_run == "demo"
    with Workspace(PIPELINE, "publish", tmp_path, "other") as work:
        entry = work.read_registry(lock=False).entry("demo")
        assert [file.read() for file in work.open_published(entry, LISTING)] == [b"a\n"]
        assert work.load_published(entry, MODEL) == [1]
        assert [item.name for item in work.inputs] == [
            f"model/published/000001-demo/{name}" for name in ("listing.csv", "model.pkl")
        ]


def test_an_artifact_in_parts_is_published_in_parts_and_read_in_their_order(tmp_path):
    with Workspace(PIPELINE, "publish", tmp_path, "demo") as work:
        for text in ("a\n", "b\n"):
            work.save(LISTING, text)
        work.update_registry_after_commit(work.read_registry(lock=True).with_run("demo"), {}, [LISTING])
        commit(work)
    with Workspace(PIPELINE, "serve", tmp_path, "other") as work:
        entry = work.read_registry(lock=False).entry("demo")
        texts = work.open_published(entry, LISTING)
        assert next(texts).read() == b"a\n"
        (tmp_path / "model/published/000001-demo/listing/00001.csv").write_text("c\n")
        with pytest.raises(DataError, match=r"listing/00001\.csv has sha256"):
            next(texts)
    assert not (tmp_path / "model/published/000001-demo/listing.csv").exists()


def test_a_run_that_is_not_published_changes_nothing_that_is_active(tmp_path):
    publish(tmp_path, "one")
    model = ModelStore(tmp_path, PIPELINE)
    lock = model.lock()
    model.write_registry(model.read_registry().with_run("two"))
    os.close(lock)
    assert read_in_force(tmp_path) == "one"
    assert model.read_registry().entry("two").publication is None


def test_a_stage_publishes_a_single_artifact_without_a_registry(tmp_path):
    with Workspace(PIPELINE, "average", tmp_path, "demo") as work:
        work.save(MEANS, {"hill": 7.0})
        work.publish_after_commit(MEANS)
        with pytest.raises(TransientError, match="in use"):
            ModelStore(tmp_path, PIPELINE).lock()
        commit(work)
    assert (tmp_path / "model/means.json").read_bytes() == (tmp_path / "runs/demo/average/means.json").read_bytes()


def test_a_registry_of_schema_version_1_is_read_and_written_as_version_2(tmp_path):
    publish(tmp_path, "one")
    path = tmp_path / "model/registry.json"
    former = json.loads(path.read_text())
    del former["sha256"]
    former = {
        "schema_version": 1,
        "in_force": former.pop("active_run"),
        **{k: v for k, v in former.items() if k != "schema_version"},
    }
    digest = hashlib.sha256(json.dumps(former, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, **former}, indent=2))
    assert read_in_force(tmp_path) == "one"
    path.write_text(json.dumps({"sha256": digest, **former, "in_force": "two"}, indent=2))
    with pytest.raises(DataError, match="it was changed or damaged"):
        read_in_force(tmp_path)
    path.write_text(json.dumps({"sha256": digest, **former}, indent=2))
    publish(tmp_path, "two")
    assert json.loads(path.read_text())["schema_version"] == 2
    assert ModelStore(tmp_path, PIPELINE).read_registry().entry("two").predecessor == "one"
