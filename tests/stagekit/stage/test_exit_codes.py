"""How a stage ends, seen from inside the process; `test_stage.py` sees it from outside."""

import errno
import hashlib
import json
import logging
import sys
from types import ModuleType

import pytest

from services.contract.settings import TrainSettings
from stagekit.errors import DataError
from stagekit.stage import run as stage
from stagekit.stage.command_line import parse
from stagekit.volume import workspace as artifacts


@pytest.fixture
def run(tmp_path, monkeypatch, caplog, capsys):
    """Run a stage `train` whose main is given; returns its exit code, what it wrote to stdout, and what it logged."""
    caplog.set_level(logging.INFO)

    def run(main, *arguments):
        module = ModuleType("probe.main")
        module.main = main
        monkeypatch.setitem(sys.modules, "probe.main", module)
        caplog.clear()
        code = stage._run("train", TrainSettings, "probe.main", [f"--volume={tmp_path}", "--run=demo", *arguments])
        return code, capsys.readouterr().out, [record.getMessage() for record in caplog.records]

    return run


def failing(error):
    def main(settings, work):
        raise error

    return main


def saving(settings, work):
    work.decisions["strategy"] = "exact: few customers"
    work.save(artifacts.METRICS, {"k_values": settings.k_values})
    return {"first": settings.k_values[0]}


def test_the_result_is_printed_and_every_file_and_the_digest_are_logged(run, tmp_path):
    code, out, logged = run(saving, "--k-values=3,2")
    assert (code, out) == (0, '{"first": 2}\n')
    manifest = (tmp_path / "runs/demo/train/manifest.json").read_bytes()
    assert logged == ["wrote metrics.json (37 bytes)", f"manifest sha256:{hashlib.sha256(manifest).hexdigest()}"]


def test_the_manifest_tells_what_was_set_by_whom_and_decided(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMENTATION_IMAGE", "customer-segmentation/train:1")
    run(saving, "--k-values=3,2")
    found = json.loads((tmp_path / "runs/demo/train/manifest.json").read_text())
    assert (found["run"], found["stage"], found["result"]) == ("demo", "train", {"first": 2})
    assert (found["image"], found["exit_reason"]) == ("customer-segmentation/train:1", "done")
    assert found["settings"]["k_values"] == [2, 3]
    assert not {"volume", "run", "upstream"} & set(found["settings"])
    assert (found["setting_sources"]["k_values"], found["setting_sources"]["n_init"]) == ("flag", "default")
    assert found["decisions"] == {"strategy": "exact: few customers"}
    assert [record["name"] for record in found["outputs"]] == ["metrics.json"]
    assert found["started"] <= found["ended"]
    assert {"python", "pandas", "pydantic"} <= set(found["versions"])


def test_what_a_stage_has_read_stands_in_its_manifest(run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text("a")
    run(lambda _, work: work.data_file("data/file.csv").name)
    found = json.loads((tmp_path / "runs/demo/train/manifest.json").read_text())
    assert [(record["name"], record["bytes"]) for record in found["inputs"]] == [("data/file.csv", 1)]


def test_a_stage_that_is_to_rely_on_a_manifest_refuses_another(run):
    run(saving)
    code, _, logged = run(lambda _, work: work.load(artifacts.METRICS), f"--upstream=train={'0' * 64}")
    assert code == 65
    assert logged[-1].endswith("it was changed or damaged; run train again")


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (DataError("file.csv row 2:\n no"), 65, "failed (65, unusable data): file.csv row 2: no"),
        (
            MemoryError(),
            137,
            "failed (137, out of memory): the data does not fit into memory: raise the memory limit of this stage",
        ),
        (
            OSError(errno.EROFS, "it says"),
            78,
            "failed (78, the volume or the image is set up wrong): the volume is read-only: mount it writable",
        ),
        (ValueError("x\ny"), 70, "failed (70, a defect of the stage): ValueError: x y"),
    ],
)
def test_whatever_ends_a_stage_is_told_in_one_line_and_an_exit_code_and_leaves_no_run(run, tmp_path, error, code, last):
    ended, out, logged = run(failing(error))
    assert (ended, out, logged[-1]) == (code, "", last)
    assert not (tmp_path / "runs/demo").exists()


def test_only_a_defect_of_ours_has_a_traceback(run, caplog):
    run(failing(DataError("no")))
    assert not [record for record in caplog.records if record.exc_info]
    error = KeyError("x")
    run(failing(error))
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_settings_that_cannot_be_used_end_it_before_there_is_a_folder(run, tmp_path):
    code, out, logged = run(saving, "--n-init=0")
    assert (code, out) == (64, "")
    assert logged[-1].startswith("failed (64, unusable settings): --n-init is '0'")
    assert not (tmp_path / "runs").exists()


def test_help_calls_the_stage_as_people_call_it(capsys):
    with pytest.raises(SystemExit):
        parse(TrainSettings, ["--help"], prog="python -m services.train")
    assert capsys.readouterr().out.startswith("usage: python -m services.train ")
