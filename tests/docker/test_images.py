"""The stage images, built by `make images` and run by a real engine."""

import json
import os
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.runs import run_folder
from tests.docker.commands import REPOSITORY, TAG, docker, make

pytestmark = [pytest.mark.needs_docker, pytest.mark.usefixtures("images")]

STAGES = sorted(folder.parent.name for folder in (REPOSITORY / "services").glob("*/main.py"))


def image(stage: str) -> str:
    return f"customer-segmentation/{stage}:{TAG}"


def python(stage: str, code: str) -> str:
    return docker("run", "--rm", "--network=none", "--entrypoint=python3", image(stage), "-c", code)


def layers(stage: str) -> list[tuple[str, int]]:
    """The layers of an image that hold anything, from the base up: what made each (and when), and its bytes."""
    lines = docker("history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedAt}} {{.CreatedBy}}", image(stage))
    sized = [(made, int(size)) for size, _, made in (line.partition(" ") for line in reversed(lines.splitlines()))]
    return [(made, size) for made, size in sized if size]


def test_the_whole_chain_runs_hardened_and_leaves_files_that_the_caller_owns(volume: Path) -> None:
    (volume / "runs").mkdir()
    (volume / "model").mkdir()
    results = {}
    for stage in PIPELINE.stage_names:
        ended = make("run-stage", STAGE=stage, RUN="by hand", VOLUME=str(volume), TAG=TAG)
        results[stage] = json.loads(ended.stdout.splitlines()[-1])
        assert "--cap-drop ALL" in ended.stderr, "make run-stage shows the command that it runs"

    assert set(results["train"]) == {"k_values", "sse"}
    assert isinstance(results["evaluate"], int)
    written = list((volume / "runs" / run_folder("by hand")).rglob("*"))
    assert {path.name for path in written} >= {"customers.pkl", "features.pkl", "kmeans_custom.sav", "evaluation.json"}
    assert {path.stat().st_uid for path in written} == {os.getuid()}


def test_a_stage_writes_to_a_named_volume_as_the_user_of_the_image(volume: Path) -> None:
    name = docker("volume", "create")
    try:
        data = f"{volume / 'data'}:/shared/data:ro"
        docker("run", "--rm", f"--volume={name}:/shared", f"--volume={data}", image("extract"), "--run=demo")
        lines = ["run", "--rm", f"--volume={name}:/shared", "--entrypoint=stat", image("extract")]
        assert docker(*lines, "--format=%u:%g %A", "/shared/runs/demo/extract") == "50000:0 drwxrws---"
    finally:
        docker("volume", "rm", name)


def test_another_user_of_group_0_can_continue_a_run(volume: Path) -> None:
    volume.chmod(0o2775)
    os.chown(volume, -1, 0) if os.getuid() == 0 else pytest.skip("only root can hand a folder to group 0")
    for user, stage in (("50000:0", "extract"), ("50001:0", "transform"), ("50000:0", "extract")):
        docker("run", "--rm", f"--user={user}", f"--volume={volume}:/shared", image(stage), "--run=demo")


def test_an_error_of_a_stage_reaches_the_caller(volume: Path) -> None:
    ended = make("run-stage", STAGE="train", RUN="demo", VOLUME=str(volume), TAG=TAG, check=False)
    assert ended.returncode != 0
    assert "transform" in ended.stderr, "it names the stage to run first"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("stage", [*STAGES, "airflow"])
def test_an_image_has_labels_and_does_not_run_as_root(stage: str) -> None:
    config = json.loads(docker("image", "inspect", "--format={{json .Config}}", image(stage)))
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["title"] == f"customer-segmentation/{stage}"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] in (REPOSITORY / "pyproject.toml").read_text()
    assert labels["description"]
    assert labels["revision"]
    assert docker("run", "--rm", "--entrypoint=id", image(stage), "-u") == "50000"


@pytest.mark.parametrize(
    ("stage", "libraries"), [("extract", ["sklearn", "scipy", "kneed"]), ("report", ["sklearn", "scipy", "kneed", "pandas"])]
)
def test_a_stage_carries_no_library_that_it_does_not_import(stage: str, libraries: list[str]) -> None:
    assert python(stage, f"from importlib.util import find_spec as f; print([m for m in {libraries} if f(m)])") == "[]"


@pytest.mark.parametrize("stage", [*STAGES, "airflow"])
def test_an_image_holds_no_installer_and_no_code_of_others(stage: str) -> None:
    tools = docker(
        "run", "--rm", "--entrypoint=sh", image(stage), "-c", "command -v uv git gcc; ls /opt/venv/bin/pip* 2>/dev/null; true"
    )
    assert tools == ""
    other = {path.name for path in (REPOSITORY / "services").iterdir() if path.is_dir()} - {stage, "contract", "__pycache__"}
    present = set(docker("run", "--rm", "--entrypoint=ls", image(stage), "services").split())
    assert "contract" in present
    assert not present & other


@pytest.mark.parametrize("stage", STAGES)
def test_everything_is_compiled_since_a_container_cannot_keep_what_it_compiles(stage: str) -> None:
    code = f"""
import importlib, os, sys
importlib.import_module("services.{stage}.main")
print([m.__name__ for m in list(sys.modules.values())
       if (getattr(m, "__file__", None) or "").endswith(".py") and m.__file__.startswith(("/opt/venv", "/app"))
       and not os.path.exists(m.__cached__ or "")])
"""
    assert python(stage, code) == "[]"


def test_the_images_share_the_layers_of_their_libraries() -> None:
    table, learning = layers("extract")[-3], layers("train")[-2]
    assert "table" in table[0]
    assert "learning" in learning[0]
    for stage in ("extract", "transform", "train", "evaluate", "segment"):
        assert table in layers(stage)
    for stage in ("transform", "train", "evaluate", "segment"):
        assert learning in layers(stage)
    for stage in STAGES:
        code = layers(stage)[-1]
        assert "COPY" in code[0]
        assert code[1] < 1_000_000, "an edit of the source changes the last layer alone, and that is small"


def test_a_stage_that_needs_less_is_smaller() -> None:
    size = {stage: sum(size for _, size in layers(stage)) for stage in ("extract", "train")}
    assert size["extract"] <= 0.85 * size["train"]


def test_the_four_images_take_little_more_space_than_the_largest() -> None:
    together = {layer for stage in ("extract", "transform", "train", "evaluate") for layer in layers(stage)}
    alone = sum(size for _, size in layers("train"))
    assert sum(size for _, size in together) <= 1.2 * alone, "DuckDB in extract's image takes 0.19 of it"
