"""The repository with the second pipeline in place of the customer segmentation: every command works as before."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.commands import REPOSITORY, TAG, docker, make
from tests.docker.stack import free_port

EXAMPLE = REPOSITORY / "tests/stagekit/example"
MEANS = {"harbour": 12.0, "hill": 7.0}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the pipeline was replaced as README.md of the example describes."""
    folder = tmp_path_factory.mktemp("second") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines():
        is_replaced = name.startswith(("services/", "plugins/", "dags/", "shared_volume/"))
        if (REPOSITORY / name).is_file() and (not is_replaced or name == "dags/housekeeping_dag.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    for name in ("services", "dags", "plugins"):
        shutil.copytree(EXAMPLE / name, folder / name, dirs_exist_ok=True)
    shutil.copytree(EXAMPLE / "data", folder / "shared_volume/data")
    makefile = (folder / "Makefile").read_text()
    (folder / "Makefile").write_text(re.sub("^PIPELINE := .*$", "PIPELINE := temperatures", makefile, flags=re.MULTILINE))
    for name in (".uv", ".venv"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def read_means(volume: Path) -> dict[str, float]:
    means: dict[str, float] = json.loads((volume / "model/means.json").read_text())
    return means


def test_it_runs_as_local_processes(project: Path) -> None:
    make("--no-print-directory", "-C", str(project), "run")
    assert read_means(project / "shared_volume") == MEANS


@pytest.mark.needs_docker  # not for the engine: without one, `make test` need not run these tests twice
def test_the_tests_of_the_kit_run_on_it(project: Path, docker_engine: None) -> None:
    make("--no-print-directory", "-C", str(project), "test", ARGS="--quiet -m 'not needs_docker' tests/stagekit")


@pytest.fixture(scope="module")
def settings(project: Path, docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Build the images, start the stack and yield the variables for make."""
    volume = tmp_path_factory.mktemp("volume") / "shared_volume"
    shutil.copytree(EXAMPLE / "data", volume / "data")
    settings = {
        "COMPOSE_PROJECT_NAME": f"temperatures-test-{os.getpid()}",
        "AIRFLOW_PORT": free_port(),
        "ENV_FILE": str(volume.parent / "secrets"),
        "VOLUME": str(volume),
        "TAG": TAG,
    }
    try:
        make("--no-print-directory", "-C", str(project), "up", **settings)
        yield settings
    finally:
        make("--no-print-directory", "-C", str(project), "down", check=False, **settings)
        for name in ("database", "logs"):
            subprocess.run(["docker", "volume", "rm", f"{settings['COMPOSE_PROJECT_NAME']}_{name}"], capture_output=True)
        images = docker("image", "ls", f"--filter=reference=temperatures/*:{TAG}", "--format={{.Repository}}:{{.Tag}}")
        subprocess.run(["docker", "image", "rm", "--force", *images.split()], capture_output=True)


@pytest.mark.needs_docker
def test_its_images_are_named_after_it(settings: dict[str, str]) -> None:
    images = docker("image", "ls", f"--filter=reference=temperatures/*:{TAG}", "--format={{.Repository}}")
    assert sorted(images.split()) == [f"temperatures/{name}" for name in ("airflow", "average", "prune", "read")]


@pytest.mark.needs_docker
def test_airflow_runs_its_stages_in_containers_and_publishes(project: Path, settings: dict[str, str]) -> None:
    ended = make("--no-print-directory", "-C", str(project), "trigger", CONF='{"unit": "fahrenheit"}', **settings)
    assert ended.stdout.splitlines()[-1] == "the run succeeded"
    assert read_means(Path(settings["VOLUME"])) == {"harbour": pytest.approx(53.6), "hill": pytest.approx(44.6)}


@pytest.mark.needs_docker
def test_housekeeping_works_for_it(project: Path, settings: dict[str, str]) -> None:
    ended = make("--no-print-directory", "-C", str(project), "prune", KEEP="1", **settings)
    assert ended.stdout.splitlines()[-1] == "the run succeeded"


@pytest.mark.needs_docker
def test_one_of_its_stages_runs_as_a_hardened_container(project: Path, settings: dict[str, str]) -> None:
    ended = make("--no-print-directory", "-C", str(project), "run-stage", STAGE="read", RUN="by-hand", **settings)
    assert json.loads(ended.stdout.splitlines()[-1]) == {"readings": 3}
