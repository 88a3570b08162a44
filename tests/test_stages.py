"""Every stage has all of its parts: folder, dependency group, operator; a missing one is named."""

import re
import tomllib

import pytest

from services.__main__ import stages
from services.contract.settings import CONSUMERS, SETTINGS
from tests.docker.commands import REPOSITORY

GROUPS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
DAG = (REPOSITORY / "dags/customer_segmentation_dag.py").read_text()
NAMED = {*stages(), *SETTINGS, *re.findall(r'stage="(\w+)"', DAG), *(included["include-group"] for included in GROUPS["local"])}
"""Names of stages in any of these places."""


@pytest.mark.parametrize("stage", sorted(NAMED - CONSUMERS))
def test_a_stage_has_all_of_its_parts(stage: str) -> None:
    folder = REPOSITORY / "services" / stage
    missing = [
        f"services/{stage}/{name}" for name in ("__init__.py", "__main__.py", "main.py") if not (folder / name).is_file()
    ]
    if stage not in GROUPS:
        missing.append(f"the dependency group {stage!r} in pyproject.toml")
    elif {"include-group": stage} not in GROUPS["local"]:
        missing.append(f"{{ include-group = {stage!r} }} in the group 'local' of pyproject.toml")
    if f'stage="{stage}"' not in DAG:
        missing.append(f"an operator with stage={stage!r} in dags/customer_segmentation_dag.py")
    assert not missing, f"the stage {stage} still needs: {', '.join(missing)}"
