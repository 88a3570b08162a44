"""The declaration of the pipeline, compared with the folders, the DAG and pyproject.toml: what a new stage lacks is named."""

import re
import tomllib
from pathlib import Path

import pytest

from services.pipeline import PIPELINE
from stagekit.volume.artifact import Artifact

REPOSITORY = Path(__file__).parents[1]
GROUPS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
DAGS = {path.name: re.findall(r'stage="(\w+)"', path.read_text()) for path in (REPOSITORY / "dags").glob("*_dag.py")}
FOLDERS = {path.parent.name for path in (REPOSITORY / "services").glob("*/__main__.py")}


@pytest.mark.parametrize("stage", sorted({*(stage.name for stage in PIPELINE), *FOLDERS}))
def test_a_stage_has_all_that_makes_it_one(stage: str) -> None:
    missing = []
    if stage not in [declared.name for declared in PIPELINE]:
        missing.append(f"Stage({stage!r}, ...) in services/pipeline.py")
        image, module = stage, f"services.{stage}.main"
    else:
        image, module = PIPELINE[stage].image, PIPELINE[stage].module
    files = [f"services/{image}/__init__.py", f"services/{image}/__main__.py", f"{module.replace('.', '/')}.py"]
    missing += [name for name in files if not (REPOSITORY / name).is_file()]
    if stage in GROUPS and stage in PIPELINE.stage_names and {"include-group": stage} not in GROUPS["local"]:
        missing.append(f"{{ include-group = {stage!r} }} in the group 'local' of pyproject.toml")
    if image == stage and not any(stage in stages for stages in DAGS.values()):
        missing.append(f"an operator with stage={stage!r} in dags/")
    assert not missing, f"the stage {stage} still needs: {', '.join(missing)}"


def test_the_dag_runs_the_stages_in_the_order_of_the_declaration() -> None:
    assert tuple(DAGS["customer_segmentation_dag.py"]) == PIPELINE.stage_names


def test_every_artifact_is_written_by_its_stage_and_read_only_by_later_ones() -> None:
    written: set[Artifact] = set()
    for stage in PIPELINE:
        assert {artifact.stage for artifact in stage.writes} <= {stage.name}
        assert {*stage.reads, *stage.publishes} <= written | {*stage.writes}, stage.name
        written |= {*stage.writes}
    names = [(artifact.stage, artifact.name) for artifact in written]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("stage", PIPELINE.stage_names)
def test_the_table_in_the_readme_names_what_a_stage_writes(stage: str) -> None:
    row = re.search(rf"^\| `{stage}` \|.*\| ([^|]*) \|$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    assert row, f"README.md has no row for the stage {stage}"
    assert re.findall(r"`([^`]+)`", row[1]) == [artifact.name for artifact in PIPELINE[stage].writes]
