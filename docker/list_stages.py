"""List the images of the stages, each with the layer of libraries that it starts from: `extract:table,train:learning`.

A stage is a folder of services/ with a __main__.py. Its layer is the largest of the shared ones that its dependency group in
pyproject.toml includes: `learning`, `table`, or `bare` for a stage that needs neither.
"""

import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
LAYERS = ("learning", "table")
"""The targets of stage.Dockerfile with libraries, the largest first; each is a dependency group, too."""


def included(groups: dict[str, list[str | dict[str, str]]], name: str) -> set[str]:
    """Return a group and all groups that it includes, directly or not."""
    direct = [entry["include-group"] for entry in groups.get(name, []) if isinstance(entry, dict)]
    return {name}.union(*(included(groups, group) for group in direct))


def list_stages(repository: Path) -> list[str]:
    """Return `stage:layer` for every stage."""
    groups = tomllib.loads((repository / "pyproject.toml").read_text())["dependency-groups"]
    stages = sorted(path.parent.name for path in (repository / "services").glob("*/__main__.py"))
    return [f"{stage}:{next((layer for layer in LAYERS if layer in included(groups, stage)), 'bare')}" for stage in stages]


if __name__ == "__main__":
    print(",".join(list_stages(REPOSITORY)))
