"""Write docs/settings.md from the models in services/contract/settings.py: `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.pipeline import PIPELINE
from stagekit.pipeline import Stage
from stagekit.serialization import to_text
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings

HEAD = """\
# Settings

Generated from `services/pipeline.py` and `services/contract/settings.py` by `make docs`.

Every setting is a flag (`--k-values 2,3,4`), an environment variable (`{prefix}K_VALUES`), a field of Airflow's trigger form,
a key of a run's `conf` over REST, and a key of the Airflow Variable `customer_segmentation` (JSON like `{{"n_init": 20}}`).
A flag takes precedence over the environment variable, and the form over the Airflow Variable.
A field of the form that shows its default counts as not set. The manifest records where each value came from.
`python -m services.train --help` describes the settings of one stage.

All stages also have `volume`, `run` and `upstream`, which Airflow fills in.
"""


def describe_settings() -> str:
    """Return the text of docs/settings.md."""
    parts = [HEAD.format(prefix=ENVIRONMENT_PREFIX)]
    for stage in PIPELINE.stages:
        properties = stage.settings.model_json_schema()["properties"]
        rows = [_row(name, schema) for name, schema in properties.items() if name not in StageSettings.model_fields]
        parts += [f"## {stage.name}\n", f"{_artifacts(stage)}\n"]
        if rows:
            parts += ["| setting | values | default | effect |\n|---|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _row(name: str, schema: dict[str, Any]) -> str:
    default = to_text(schema["default"]) if schema["default"] not in (None, "", []) else ""
    cells = (f"`{name}`", _values(schema), f"`{default}`" if default else "empty", schema["description"])
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _artifacts(stage: Stage) -> str:
    """Describe in one sentence each what a stage reads, writes and publishes."""
    verbs = {"Reads": stage.reads, "Writes": stage.writes, "Publishes": stage.publishes}
    lists = {verb: ", ".join(f"`{artifact.name}`" for artifact in artifacts) for verb, artifacts in verbs.items()}
    return " ".join(f"{verb} {names}." for verb, names in lists.items() if names)


def _values(schema: dict[str, Any]) -> str:
    """Describe the accepted values: type and bounds, or the choices."""
    if options := schema.get("anyOf"):
        return " or ".join("empty" if option["type"] == "null" else _values(option) for option in options)
    if choices := schema.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    if schema["type"] == "array":
        return f"list of {_values(schema['items'])}"
    kind = {"integer": "integer", "number": "number", "string": "text", "boolean": "`true` or `false`"}[schema["type"]]
    bounds = [("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to")]
    return " ".join([kind, *(f"{word} {_number(schema[bound])}" for bound, word in bounds if bound in schema)])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(describe_settings())
