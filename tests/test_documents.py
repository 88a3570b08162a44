"""The documents: names in them exist, everything that exists is documented, and their commands work."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from docs.write_settings import describe_settings
from services.pipeline import PIPELINE
from stagekit.errors import ExitCode
from stagekit.settings import StageSettings
from tests.docker.commands import REPOSITORY, TAG

DOCUMENTS = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not {".venv", ".uv", "mutants", "node_modules", "runs", ".pytest_cache"} & set(path.relative_to(REPOSITORY).parts)
)
README = (REPOSITORY / "README.md").read_text()
TARGETS = re.findall(r"^\.PHONY: ([\w-]+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)

ELSEWTESTED_HERE = {
    "make test": "is what runs this",
    "make up": "tests/docker/stack.py",
    "make trigger": "tests/docker/test_compose.py",
    "make down": "tests/docker/test_compose.py",
}
"""Start of the README's commands that other tests run, with different names of the stack."""


def commands(text: str) -> list[str]:
    """Return the commands in the shell blocks, one line each, without comments."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in blocks.splitlines()) if line]


def slug(heading: str) -> str:
    """Return the anchor of a heading on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


TESTED_HERE = [command for command in commands(README) if not command.startswith(tuple(ELSEWTESTED_HERE))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        file = (document.parent / path).resolve() if path else document
        headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE) if file.suffix == ".md" and anchor else []
        if not file.exists() or (anchor and anchor not in map(slug, headings)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "help"])
def test_every_make_target_is_documented(target: str) -> None:
    assert [path for path in DOCUMENTS if re.search(rf"\bmake {target}\b", path.read_text())], target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_documented_make_target_exists(document: Path) -> None:
    text = re.sub(r"### Renamed.*?(?=###)", "", document.read_text(), flags=re.DOTALL)
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, flags=re.MULTILINE)
    assert set(named) <= set(TARGETS)


def test_the_page_of_settings_matches_the_models() -> None:
    assert (REPOSITORY / "docs/settings.md").read_text() == describe_settings(), "run `make docs`"


@pytest.mark.parametrize("stage", PIPELINE.stage_names)
def test_every_setting_of_a_stage_is_documented(stage: str) -> None:
    section = (REPOSITORY / "docs/settings.md").read_text().partition(f"## {stage}\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(PIPELINE[stage].settings.model_fields) - set(
        StageSettings.model_fields
    )


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", (REPOSITORY / "docs/exit-codes.md").read_text(), flags=re.MULTILINE)
    assert {int(code): "retries" in airflow for code, airflow in rows} == {code.value: code.retry_can_help for code in ExitCode}


def test_every_dependency_is_documented() -> None:
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    named = {re.split(r"[<>=\[]", one)[0] for group in groups.values() for one in group if isinstance(one, str)}
    table = (REPOSITORY / "docs/dependencies.md").read_text().partition("|---|")[2]
    assert set(re.findall(r"`([a-z][a-z0-9-]*)`", table)) == named


def test_the_code_walkthrough_names_only_functions_that_exist() -> None:
    text = (REPOSITORY / "docs/code-walkthrough.md").read_text()
    named = re.findall(r"\]\(\.\./(\S+\.py)\), `(\w+)`", text)
    assert len(named) >= 15
    for path, name in named:
        assert re.search(rf"^ *(def|class) {name}\b", (REPOSITORY / path).read_text(), re.MULTILINE), (path, name)


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 130


# --- the commands of the README


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a separate checkout in which commands may write files; only the environment is shared."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    for name in (".uv", ".venv"):
        (folder / name).symlink_to(REPOSITORY / name)
    rows = (folder / "shared_volume/data/file.csv").read_text().splitlines()
    for name, n_rows in {"file.csv": 1000, "mine.csv": 100, "new.csv": 100}.items():  # the README's names for the user's data
        (folder / "shared_volume/data" / name).write_text("\n".join(rows[:n_rows]) + "\n")
    return folder


def run_command(checkout: Path, command: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    inherited["PIPELINE_N_RESAMPLES"] = "2"  # the default takes most of the time
    ended = subprocess.run(["bash", "-c", command], cwd=checkout, env=inherited, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"


@pytest.mark.slow
def test_the_commands_of_the_readme_without_docker_work_in_their_order(checkout: Path) -> None:
    typed = [command for command in TESTED_HERE if re.match(r"make run( |$)|\.venv/bin/python", command)]
    assert len(typed) >= 3
    for command in typed:
        run_command(checkout, command)


@pytest.mark.needs_docker
def test_the_commands_of_the_readme_with_docker_work(checkout: Path, images: None) -> None:
    typed = [command for command in TESTED_HERE if command.startswith(("make run-stage", "docker run"))]
    assert len(typed) >= 2
    for command in typed:
        if run := re.search(r"RUN=('[^']*'|\S+)", command):
            run_command(checkout, f"make run RUN={run[1]}")
        run_command(
            checkout,
            re.sub(r"(customer-segmentation/\w+)", rf"\1:{TAG}", command).replace(
                "make run-stage", f"make run-stage TAG={TAG}"
            ),
        )


def test_every_command_of_the_readme_is_tested() -> None:
    known = ("make run", ".venv/bin/python", "make run-stage", "docker run")
    assert not [command for command in TESTED_HERE if not command.startswith(known)]
    assert not [command for command in ELSEWTESTED_HERE if command not in README]
