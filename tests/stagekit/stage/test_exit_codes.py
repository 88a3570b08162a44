"""How a stage ends, seen from inside the process; `tests/services/test_processes.py` sees it from outside."""

import errno
import hashlib
import json
import logging
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from stagekit.errors import DataError
from stagekit.pipeline import Stage
from stagekit.stage import run as stage
from stagekit.stage.command_line import parse
from tests.stagekit.declaration import COPY, MEANS, PIPELINE, AverageSettings

PROBE = Stage("average", AverageSettings, reads=(COPY, MEANS), writes=(MEANS,), module="probe.main")


@pytest.fixture
def run(tmp_path, monkeypatch, caplog, capsys):
    """Run a stage `average` whose main is given; returns its exit code, what it wrote to stdout, and what it logged."""
    caplog.set_level(logging.INFO)

    def run(main, *arguments):
        module = ModuleType("probe.main")
        module.main = main
        monkeypatch.setitem(sys.modules, "probe.main", module)
        caplog.clear()
        code = stage._run(replace(PIPELINE, stages=(PROBE,)), "average", [f"--volume={tmp_path}", "--run=demo", *arguments])
        return code, capsys.readouterr().out, [record.getMessage() for record in caplog.records]

    return run


def failing(error):
    def main(settings, work):
        raise error

    return main


def saving(settings, work):
    work.decisions["rounding"] = "none: few stations"
    work.save(MEANS, {"unit": settings.unit})
    return {"unit": settings.unit}


def test_the_result_is_printed_and_every_file_and_the_digest_are_logged(run, tmp_path):
    code, out, logged = run(saving, "--unit=fahrenheit")
    assert (code, out) == (0, '{"unit": "fahrenheit"}\n')
    manifest = (tmp_path / "runs/demo/average/manifest.json").read_bytes()
    assert logged == ["wrote means.json (27 bytes)", f"manifest sha256:{hashlib.sha256(manifest).hexdigest()}"]


def test_the_manifest_records_settings_their_sources_and_decisions(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_IMAGE", "temperatures/average:1")
    run(saving, "--unit=fahrenheit")
    found = json.loads((tmp_path / "runs/demo/average/manifest.json").read_text())
    assert (found["run"], found["stage"], found["result"]) == ("demo", "average", {"unit": "fahrenheit"})
    assert (found["image"], found["exit_reason"]) == ("temperatures/average:1", "success")
    assert found["settings"] == {"unit": "fahrenheit"}
    assert (found["setting_sources"]["unit"], found["setting_sources"]["upstream"]) == ("flag", "default")
    assert found["decisions"] == {"rounding": "none: few stations"}
    assert [record["name"] for record in found["outputs"]] == ["means.json"]
    assert found["started"] <= found["ended"]
    assert found["peak_memory_mib"] > 10
    assert set(found["versions"]) == {"python", "pydantic"}


def test_the_inputs_of_a_stage_are_in_its_manifest(run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file.csv").write_text("a")
    run(lambda _, work: work.user_files.open("data/file.csv").name)
    found = json.loads((tmp_path / "runs/demo/average/manifest.json").read_text())
    assert [(record["name"], record["bytes"]) for record in found["inputs"]] == [("data/file.csv", 1)]


def test_a_stage_with_a_given_manifest_digest_rejects_another_manifest(run):
    run(saving)
    code, _, logged = run(lambda _, work: work.load(MEANS), f"--upstream=average={'0' * 64}")
    assert code == 65
    assert logged[-1].endswith("it was changed or damaged; run average again")


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (DataError("file.csv row 2:\n no"), 65, "failed (65, invalid data): file.csv row 2: no"),
        (
            MemoryError(),
            137,
            "failed (137, out of memory): the data does not fit into memory: raise the memory limit of this stage",
        ),
        (
            OSError(errno.EROFS, "a reason"),
            78,
            "failed (78, volume or image misconfigured): the volume is read-only: mount it writable",
        ),
        (ValueError("x\ny"), 70, "failed (70, internal error): ValueError: x y"),
    ],
)
def test_every_failure_of_a_stage_is_one_line_and_an_exit_code_and_leaves_no_run(run, tmp_path, error, code, last):
    ended, out, logged = run(failing(error))
    assert (ended, out, logged[-1]) == (code, "", last)
    assert not (tmp_path / "runs/demo").exists()


def test_only_a_defect_of_ours_has_a_traceback(run, caplog):
    run(failing(DataError("no")))
    assert not [record for record in caplog.records if record.exc_info]
    error = KeyError("x")
    run(failing(error))
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_invalid_settings_fail_before_a_folder_is_created(run, tmp_path):
    code, out, logged = run(saving, "--unit=kelvin")
    assert (code, out) == (64, "")
    assert logged[-1].startswith("failed (64, invalid settings): --unit is 'kelvin'")
    assert not (tmp_path / "runs").exists()


def test_help_calls_the_stage_as_people_call_it(capsys):
    with pytest.raises(SystemExit):
        parse(AverageSettings, ["--help"], prog="python -m services.average")
    assert capsys.readouterr().out.startswith("usage: python -m services.average ")
