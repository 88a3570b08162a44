import hashlib
import json
import os
import pickle
import sys
from contextlib import suppress
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from stagekit.errors import DataError, ExitCode, MissingInputError, SetupError, StageError, TransientError, UsageError
from stagekit.volume import files
from stagekit.volume.artifact import Artifact
from stagekit.volume.manifest import FileRecord, Manifest, installed_versions
from stagekit.volume.registry import Registry, RunEntry
from stagekit.volume.workspace import Workspace
from tests.stagekit.declaration import COPY, DATA, LISTING, NOTES, PIPELINE, RANKS, TABLE
from tests.stagekit.manifests import commit, manifest_of


def workspace(volume: Path, stage: str = "read", run: str = "demo", upstream: dict[str, str] | None = None) -> Workspace:
    return Workspace(PIPELINE, stage, volume, run, upstream)


def write(volume: Path, value: object = 1, run: str = "demo") -> str:
    """Run a stage `read` that writes `value` in both formats; returns the digest of its manifest."""
    with workspace(volume, run=run) as work:
        work.save(NOTES, {"value": value})
        work.save(DATA, [value])
        return commit(work)


def folder(volume: Path, run: str = "demo") -> Path:
    return volume / "runs" / run / "read"


def test_an_artifact_of_one_stage_is_loaded_by_another(tmp_path):
    write(tmp_path, 42)
    with workspace(tmp_path, "average") as work:
        assert work.load(NOTES) == {"value": 42}
        assert work.load(DATA) == [42]
        assert [record.name for record in work.inputs] == ["read/notes.json", "read/data.pkl"]


class Note(BaseModel, extra="forbid"):
    value: int


@pytest.mark.parametrize(
    ("written", "problem"),
    [({}, "value: Field required"), ({"value": "x"}, "value: Input"), ({"value": 1, "x": 1}, "x: Extra")],
)
def test_json_of_another_version_is_rejected_with_the_stage_to_rerun(tmp_path, written, problem):
    with workspace(tmp_path) as work:
        work.save(NOTES, written)
        commit(work)
    with workspace(tmp_path, "average") as work:
        with pytest.raises(DataError, match=rf"read/notes\.json is not as .* expects it \({problem}.*: run read again"):
            work.load_as(Note, NOTES)
        work.load(NOTES)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_invalid_json_is_rejected_although_its_digest_matches(tmp_path, content):
    with workspace(tmp_path) as work:
        with work.open_part(NOTES) as file:
            file.write(content)
        commit(work)
    with workspace(tmp_path, "average") as work, pytest.raises(DataError, match=r"read/notes\.json cannot be read \("):
        work.load(NOTES)


def test_without_a_manifest_a_stage_has_not_happened(tmp_path):
    write(tmp_path)
    (folder(tmp_path) / "manifest.json").unlink()
    with workspace(tmp_path, "average") as work, pytest.raises(MissingInputError, match="run read first"):
        work.load(DATA)


def test_runs_do_not_see_each_other(tmp_path):
    write(tmp_path, run="one")
    with workspace(tmp_path, "average", run="other") as work, pytest.raises(MissingInputError):
        work.load(DATA)


def test_a_failed_try_does_not_change_the_previous_one(tmp_path):
    write(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()}
    with pytest.raises(ZeroDivisionError), workspace(tmp_path) as work:
        work.save(NOTES, {"value": 2})
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()} == before


def test_a_new_try_replaces_everything_of_the_one_before(tmp_path):
    write(tmp_path, 1)
    with workspace(tmp_path) as work:
        work.save(NOTES, {"value": 2})
        commit(work)
    assert sorted(path.name for path in folder(tmp_path).iterdir()) == [".lock", "manifest.json", "notes.json"]
    assert json.loads((folder(tmp_path) / "notes.json").read_text()) == {"value": 2}


def test_files_of_a_killed_process_are_removed_at_the_next_start(tmp_path):
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "data.pkl.tmp").write_bytes(b"half")
    with workspace(tmp_path):
        assert [path.name for path in folder(tmp_path).iterdir()] == [".lock"]


def test_a_stage_of_a_run_is_one_process_at_a_time(tmp_path):
    with workspace(tmp_path), pytest.raises(TransientError, match="in use by another process"), workspace(tmp_path):
        pass
    with workspace(tmp_path):  # free again
        pass


@pytest.mark.parametrize("name", ["notes.json", "data.pkl"])
@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_bit_is_found_before_anything_is_read(tmp_path, name, position):
    write(tmp_path)
    path = folder(tmp_path) / name
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with workspace(tmp_path, "average") as work, pytest.raises(DataError, match=f"read/{name} has sha256"):
        work.load({"notes.json": NOTES, "data.pkl": DATA}[name])


def test_a_rewritten_manifest_is_rejected_if_the_digest_was_passed_separately(tmp_path):
    digest = write(tmp_path, "true")
    write(tmp_path, "forged")
    downstream = workspace(tmp_path, "average", upstream={"read": digest})
    with downstream as work, pytest.raises(DataError, match="the manifest of read has sha256"):
        work.load(DATA)


def test_a_manifest_of_another_run_is_refused(tmp_path):
    write(tmp_path, run="one")
    folder(tmp_path, "one").parent.rename(folder(tmp_path, "other").parent)
    with workspace(tmp_path, "average", run="other") as work, pytest.raises(DataError, match="in run one"):
        work.load(DATA)


def derive(volume: Path, stage: str, source: Artifact, target: Artifact) -> None:
    """Run a stage that writes what it reads."""
    with workspace(volume, stage) as work:
        work.save(target, work.load(source))
        commit(work)


@pytest.fixture
def chain(tmp_path):
    """A run of three stages, each made of what the one before it wrote."""
    write(tmp_path, 1)
    derive(tmp_path, "average", DATA, COPY)
    derive(tmp_path, "rank", COPY, RANKS)
    return tmp_path


OUTDATED = "^read was run again after average had read its data.pkl: run average and the stages after it again"


def test_results_based_on_outdated_inputs_are_rejected_also_two_stages_downstream(chain):
    write(chain, 2)
    for artifact in (COPY, RANKS):
        with workspace(chain, "publish") as work:
            for _ in range(2):  # the second time too
                with pytest.raises(DataError, match=OUTDATED):
                    work.load(artifact)


def test_a_stage_rejects_outdated_inputs_before_it_starts(chain):
    write(chain, 2)
    with workspace(chain, "rank") as work, pytest.raises(DataError, match=OUTDATED):
        work.parts(COPY)


def test_a_stage_rerun_with_the_same_result_invalidates_nothing(chain):
    write(chain, 1)
    with workspace(chain, "publish") as work:
        assert work.load(RANKS) == [1]


def test_stages_rerun_in_their_order_are_consistent(chain):
    write(chain, 2)
    derive(chain, "average", DATA, COPY)
    with workspace(chain, "publish") as work, pytest.raises(DataError, match="average was run again after rank had read"):
        work.load(RANKS)
    derive(chain, "rank", COPY, RANKS)
    with workspace(chain, "publish") as work:
        assert work.load(RANKS) == [2]


def test_a_stage_that_no_longer_writes_an_input_of_another_counts_as_rerun(chain):
    with workspace(chain) as work:
        work.save(NOTES, {"value": 1})
        commit(work)
    with workspace(chain, "publish") as work, pytest.raises(DataError, match=OUTDATED):
        work.load(RANKS)


def test_results_may_be_used_after_the_folder_of_a_stage_further_up_was_removed(chain):
    (folder(chain) / "manifest.json").unlink()
    with workspace(chain, "publish") as work:
        assert work.load(RANKS) == [1]


def test_a_user_file_in_a_folder_named_like_a_stage_is_not_taken_for_an_artifact(chain):
    (chain / "average").mkdir()
    (chain / "average/copy.pkl").write_text("x")
    with workspace(chain) as work:
        work.user_files.open("average/copy.pkl")
        work.save(DATA, [1])
        commit(work)
    with workspace(chain, "publish") as work:
        assert work.load(RANKS) == [1]


@pytest.mark.parametrize("source", ["read", "average"])
def test_a_forged_manifest_that_claims_to_be_made_of_itself_is_refused(chain, source):
    claim = FileRecord(name=f"{source}/data.pkl", sha256="0" * 64, bytes=1, stage=source)
    with workspace(chain) as work:
        work.save(DATA, [1])
        work.commit(manifest_of("demo", "read", inputs=(claim,), outputs=work.outputs))
    with workspace(chain, "publish") as work, pytest.raises(DataError, match=f"{source} was run again after read"):
        work.load(RANKS)


def test_a_manifest_that_was_edited_is_refused(tmp_path):
    write(tmp_path)
    file = folder(tmp_path) / "manifest.json"
    file.write_text(file.read_text().replace('"exit_reason": "done"', '"exit_reason": "over"'))
    with workspace(tmp_path, "average") as work, pytest.raises(DataError) as refused:
        work.load(DATA)
    assert str(refused.value) == "the manifest of read cannot be read (it was changed or damaged); run read again"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('"schema_version":1', '"schema_version":2', "schema_version: Input should be 1"),
        ('"name":"data.pkl"', '"name":"../x"', "outputs.1.name: String should match pattern"),
    ],
)
def test_a_manifest_of_another_schema_is_rejected_with_the_reason(tmp_path, before, after, why):
    write(tmp_path)
    file = folder(tmp_path) / "manifest.json"
    content = Manifest.model_validate_json(file.read_bytes()).model_dump_json(exclude={"sha256"})
    assert before in content
    content = content.replace(before, after)
    file.write_text(f'{{"sha256":"{hashlib.sha256(content.encode()).hexdigest()}",{content[1:]}')
    with workspace(tmp_path, "average") as work, pytest.raises(DataError) as refused:
        work.load(DATA)
    assert str(refused.value).startswith(f"the manifest of read cannot be read ({why}")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 2}', "\0"])
def test_an_invalid_manifest_is_rejected_in_one_line(tmp_path, text):
    write(tmp_path)
    (folder(tmp_path) / "manifest.json").write_text(text)
    with workspace(tmp_path, "average") as work, pytest.raises(DataError, match="run read again") as error:
        work.load(DATA)
    assert "\n" not in str(error.value)


class Forged:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_forged_pickle_is_rejected_and_none_of_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with workspace(tmp_path) as work:
        with work.open_part(DATA) as file:
            pickle.dump(Forged(), file)
        commit(work)
    with workspace(tmp_path, "average") as work, pytest.raises(DataError, match="mkdir, which this pipeline never writes"):
        work.load(DATA)
    assert not (tmp_path / "executed").exists()


def test_a_user_file_is_found_and_recorded(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text("x")
    with workspace(tmp_path) as work:
        assert work.user_files.open("data/file.csv").read_text() == "x"
        assert (work.inputs[0].name, work.inputs[0].bytes) == ("data/file.csv", 1)


def test_a_user_file_must_be_a_file_inside_the_volume(tmp_path):
    volume = tmp_path / "volume"
    (volume / "data").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (volume / "data/link.csv").symlink_to(tmp_path / "secret")
    (volume / "data/relative").symlink_to("../../secret")
    (volume / "data/folder").symlink_to(tmp_path)
    (volume / "data/dangling").symlink_to("nowhere")
    with workspace(volume) as work:
        for path in ("data/link.csv", "data/relative", "data/folder/secret"):
            with pytest.raises(DataError, match="leads out of the volume"):
                work.user_files.open(path)
        with pytest.raises(DataError, match="leads out of the volume"):
            work.user_files.find("data", (".csv",))
        with pytest.raises(DataError, match="is not a file"):
            work.user_files.open("data")
        with pytest.raises(MissingInputError, match="no file data/dangling"):
            work.user_files.open("data/dangling")


def test_a_user_file_whose_name_no_manifest_can_hold_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / os.fsdecode(b"\xff.csv")).write_text("x")
    with workspace(tmp_path) as work, pytest.raises(DataError, match=r"'data/\\udcff\.csv' is not UTF-8: rename the file"):
        work.user_files.find("data", (".csv",))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="newer versions take any number of stars")
def test_a_pattern_that_python_does_not_understand_is_a_matter_of_the_settings(tmp_path):
    with workspace(tmp_path) as work, pytest.raises(UsageError, match=r"data/\*\*x is an invalid pattern"):
        work.user_files.find("data/**x", (".csv",))


def test_without_a_volume_nothing_starts(tmp_path):
    with pytest.raises(SetupError, match="there is no volume at"), workspace(tmp_path / "nowhere"):
        pass


def test_nan_is_not_written_to_json(tmp_path):
    with workspace(tmp_path) as work, pytest.raises(ValueError, match="JSON"):
        work.save(NOTES, {"value": float("nan")})


def test_json_is_written_for_people(tmp_path):
    write(tmp_path, "Zoë")
    assert (folder(tmp_path) / "notes.json").read_text(encoding="utf-8") == '{\n  "value": "Zoë"\n}\n'


def test_text_is_written_as_it_is(tmp_path):
    with workspace(tmp_path) as work:
        work.save(TABLE, "<p>Zoë</p>")
        commit(work)
    assert (folder(tmp_path) / "table.csv").read_bytes() == "<p>Zoë</p>".encode()
    with workspace(tmp_path, "average") as work:
        assert work.load(TABLE) == "<p>Zoë</p>"


def test_a_manifest_names_python_and_the_libraries_that_are_installed():
    assert set(installed_versions(("pydantic", "no-such-library"))) == {"python", "pydantic"}


UNDECLARED = [
    (lambda work: work.save(DATA, 1), "rank accesses read/data.pkl, but declares that it writes rank/ranks.pkl"),
    (lambda work: work.output_location(DATA), "declares that it writes"),
    (lambda work: work.load(DATA), "rank accesses read/data.pkl, but declares that it reads average/copy.pkl"),
    (lambda work: work.parts(DATA), "declares that it reads"),
    (lambda work: work.load_as(Note, NOTES), "declares that it reads"),
    (lambda work: work.publish_after_commit(RANKS), "declares that it publishes nothing"),
    (lambda work: work.update_registry_after_commit(Registry(), {}, [RANKS]), "declares that it publishes nothing"),
    (lambda work: next(work.open_published(RunEntry(run="demo"), LISTING)), "declares that it reads average/copy.pkl"),
]


@pytest.mark.parametrize(("access", "message"), UNDECLARED)
def test_accessing_an_artifact_that_the_stage_does_not_declare_is_an_internal_error(tmp_path, access, message):
    write(tmp_path)
    with workspace(tmp_path, "rank") as work, pytest.raises(StageError, match=message) as error:
        access(work)
    assert error.value.exit_code == ExitCode.INTERNAL_ERROR
    assert "add the artifact to the stage in services/pipeline.py" in str(error.value)


def test_a_run_that_was_mistyped_does_not_appear_among_the_runs(tmp_path):
    write(tmp_path)
    with pytest.raises(MissingInputError), workspace(tmp_path, "average", run="dmeo") as work:
        work.load(DATA)
    with pytest.raises(MissingInputError), workspace(tmp_path, "rank") as work:
        work.load(COPY)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["demo"]
    assert [path.name for path in (tmp_path / "runs/demo").iterdir()] == ["read"]


def test_a_lock_on_a_removed_folder_is_a_transient_error(tmp_path, monkeypatch):
    work = workspace(tmp_path)
    flock = files.fcntl.flock

    def taken_away_meanwhile(descriptor, operation):
        flock(descriptor, operation)
        (folder(tmp_path) / ".lock").unlink()

    monkeypatch.setattr(files.fcntl, "flock", taken_away_meanwhile)
    with pytest.raises(TransientError, match="in use by another process"), work:
        pass


@pytest.mark.parametrize("link", ["runs", "runs/demo", "runs/demo/read"])
def test_nothing_is_written_through_a_link_that_leads_out_of_the_volume(tmp_path, link):
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    outside.mkdir()
    (volume / link).parent.mkdir(parents=True)
    (volume / link).symlink_to(outside)
    with pytest.raises(SetupError, match="leads out of the volume"), workspace(volume):
        pass
    assert not list(outside.iterdir())


def test_pickles_of_other_versions_are_rejected_before_they_are_opened_and_other_files_are_not(tmp_path):
    with workspace(tmp_path) as work:
        work.save(NOTES, {"value": 1})
        work.save(DATA, [1])
        commit(work, versions={"pydantic": "0.1", "other": "0.1"})
    with workspace(tmp_path, "average") as work:
        assert work.load(NOTES) == {"value": 1}
        with pytest.raises(DataError, match=r"written with pydantic 0\.1, installed is .*: run read again") as error:
            work.load(DATA)
    assert "\n" not in str(error.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(result=VALUES, options=st.dictionaries(st.text(), VALUES, max_size=3), ended=st.datetimes(timezones=st.just(UTC)))
def test_a_manifest_is_read_as_it_was_written(result, options, ended):
    written = manifest_of("demo", "read", result=result, settings=options, ended=ended)
    read = Manifest.model_validate_json(written.to_checksummed_json())
    assert read.to_checksummed_json() == written.to_checksummed_json()
    assert read.ended == ended


@given(st.data())
def test_a_manifest_with_a_flipped_bit_is_rejected_or_equal(data):
    text = bytearray(
        manifest_of("demo", "read", outputs=(FileRecord(name="a.pkl", sha256="0" * 64, bytes=1),)).to_checksummed_json()
    )
    whole = Manifest.model_validate_json(text)
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ValidationError):
        assert Manifest.model_validate_json(text) == whole
