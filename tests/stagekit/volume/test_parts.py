"""Artifacts in parts: saved piece by piece, found in order, each checked before it is read."""

import pickle
from pathlib import Path

import pytest

from stagekit.errors import DataError, MissingInputError
from stagekit.volume.artifact import Artifact
from tests.stagekit.declaration import COPY, DATA, TABLE
from tests.stagekit.manifests import commit
from tests.stagekit.volume.test_workspace import folder, workspace


def write(volume: Path, *values: object, artifact: Artifact = DATA) -> None:
    with workspace(volume, artifact.stage) as work:
        for value in values:
            work.save(artifact, value)
        commit(work)


def names(volume: Path, stage: str = "read") -> list[str]:
    place = folder(volume).parent / stage
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def read(volume: Path, artifact: Artifact = DATA) -> list[object]:
    with workspace(volume, "publish") as work:
        return [part.load() for part in work.parts(artifact)]


def test_an_artifact_saved_once_is_one_file_and_its_only_part(tmp_path):
    write(tmp_path, "all")
    assert names(tmp_path) == [".lock", "data.pkl", "manifest.json"]
    assert read(tmp_path) == ["all"]


def test_an_artifact_saved_several_times_is_a_folder_of_parts_in_their_order(tmp_path):
    write(tmp_path, *range(12))
    assert names(tmp_path) == [".lock", *(f"data/{number:05}.pkl" for number in range(12)), "manifest.json"]
    assert read(tmp_path) == list(range(12))


def test_a_part_of_a_table_is_text_like_the_whole(tmp_path):
    write(tmp_path, "a\n1\n", "a\n2\n", artifact=TABLE)
    assert (folder(tmp_path) / "table/00001.csv").read_text() == "a\n2\n"
    assert read(tmp_path, TABLE) == ["a\n1\n", "a\n2\n"]


def test_the_manifests_name_every_part_and_what_it_is_a_part_of(tmp_path):
    write(tmp_path, 1, 2)
    with workspace(tmp_path, "average") as work:
        records = work.manifest("read").outputs
        work.parts(DATA)
        assert [(record.name, record.part_of) for record in records] == [
            ("data/00000.pkl", "data.pkl"),
            ("data/00001.pkl", "data.pkl"),
        ]
        assert [(record.name, record.part_of) for record in work.inputs] == [
            ("read/data/00000.pkl", "read/data.pkl"),
            ("read/data/00001.pkl", "read/data.pkl"),
        ]
    assert '"part_of"' in (folder(tmp_path) / "manifest.json").read_text()
    write(tmp_path, 1)
    assert "part_of" not in (folder(tmp_path) / "manifest.json").read_text()


@pytest.mark.parametrize(("before", "after"), [((1,), (2, 3)), ((1, 2, 3), (4, 5)), ((1, 2), (3,))])
def test_a_new_try_removes_the_previous_form_of_an_artifact(tmp_path, before, after):
    write(tmp_path, *before)
    write(tmp_path, *after)
    assert read(tmp_path) == list(after)
    assert len(names(tmp_path)) == len(after) + 2


def test_a_failed_try_leaves_only_the_parts_of_the_previous_one(tmp_path):
    write(tmp_path, 1, 2)
    with pytest.raises(ZeroDivisionError), workspace(tmp_path) as work:
        work.save(DATA, 3)
        raise ZeroDivisionError
    assert names(tmp_path) == [".lock", "data/00000.pkl", "data/00001.pkl", "manifest.json"]
    assert read(tmp_path) == [1, 2]


def test_parts_are_read_one_at_a_time(tmp_path):
    write(tmp_path, 1, 2)
    with workspace(tmp_path, "publish") as work:
        first, second = work.parts(DATA)
        assert first.load() == 1
        (folder(tmp_path) / "data/00001.pkl").write_bytes(b"changed meanwhile")
        with pytest.raises(DataError, match=r"read/data/00001\.pkl has sha256 .* run read again"):
            second.load()


def test_a_missing_part_is_named_before_any_is_read(tmp_path):
    write(tmp_path, 1, 2, 3)
    (folder(tmp_path) / "data/00001.pkl").unlink()
    with workspace(tmp_path, "publish") as work, pytest.raises(MissingInputError, match=r"data/00001\.pkl is missing from run"):
        work.parts(DATA)


def test_a_part_that_disappears_is_named_with_the_remedy(tmp_path):
    write(tmp_path, 1, 2)
    with workspace(tmp_path, "publish") as work:
        second = work.parts(DATA)[1]
    second.path.unlink()
    with pytest.raises(MissingInputError, match=r"^read/data/00001\.pkl is missing: run read again$"):
        second.load()


def test_parts_that_change_places_are_found(tmp_path):
    write(tmp_path, 1, 2)
    first, second = (folder(tmp_path) / f"data/0000{number}.pkl" for number in (0, 1))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(DataError, match="it was changed or damaged"):
        read(tmp_path)


@pytest.mark.parametrize(("before", "after"), [((1,), (1, 2)), ((1, 2), (1,)), ((1, 2), (1, 2, 3)), ((1, 2), (1, 3))])
def test_results_from_different_parts_are_not_mixed(tmp_path, before, after):
    write(tmp_path, *before)
    with workspace(tmp_path, "average") as work:
        work.save(COPY, sum(part.load() for part in work.parts(DATA)))
        commit(work)
    write(tmp_path, *after)
    with workspace(tmp_path, "publish") as work, pytest.raises(DataError, match="read was run again after average"):
        work.load(COPY)


def test_another_process_can_read_and_write_parts_from_its_arguments(tmp_path):
    write(tmp_path, 1, 2)
    with workspace(tmp_path, "average") as work:
        parts = pickle.loads(pickle.dumps(work.parts(DATA)))
        for part in parts:
            draft = work.output_location(COPY).write(-part.load())
            work.add_part(COPY, pickle.loads(pickle.dumps(draft)))
        commit(work)
    assert read(tmp_path, COPY) == [-1, -2]


def test_a_pending_part_that_is_not_added_is_removed(tmp_path):
    with workspace(tmp_path) as work:
        work.output_location(DATA).write("of a worker that was given up")
        work.save(DATA, "of the one that took its place")
        commit(work)
    assert names(tmp_path) == [".lock", "data.pkl", "manifest.json"]
    assert read(tmp_path) == ["of the one that took its place"]


def test_loading_an_artifact_in_parts_as_a_whole_is_an_internal_error(tmp_path):
    write(tmp_path, 1, 2)
    with workspace(tmp_path, "publish") as work, pytest.raises(ValueError, match="too many"):
        work.load(DATA)
