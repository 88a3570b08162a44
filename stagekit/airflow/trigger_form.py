"""The trigger form and the Airflow Variable: two ways to set what the settings of the pipeline's stages describe.

Both are checked against the same JSON schema, which pydantic derives from the model that the stage itself checks with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param, Variable
from airflow.sdk.exceptions import ParamValidationError
from pydantic import ValidationError

from services.pipeline import PIPELINE
from stagekit.errors import UsageError
from stagekit.serialization import to_text
from stagekit.settings import StageSettings

VARIABLE = "customer_segmentation"
USUAL = ("k_values", "n_clusters", "feature_columns", "data_file", "test_file", "publish")
"""Asked first, in the only section that Airflow's form shows unfolded; the others stand under their stage."""


def trigger_form() -> dict[str, Param]:
    """One field for every setting of every stage."""
    fields: dict[str, Param] = {}
    for stage in PIPELINE.stages:
        for name, schema in stage.settings.model_json_schema()["properties"].items():
            if name not in StageSettings.model_fields and name not in fields:
                fields[name] = _field(schema, section=None if name in USUAL else stage.name.capitalize())
    return {name: fields[name] for name in dict.fromkeys([*USUAL, *fields])}


def _field(schema: dict[str, Any], section: str | None) -> Param:
    default, description = schema.pop("default"), schema.pop("description")
    # "X or null" is what Airflow takes as optional, but only in this spelling.
    for alternative in schema.pop("anyOf", []):
        schema = {**alternative, **schema} if alternative["type"] != "null" else schema
    # Without null, the form insists on an entry where the default is an empty one.
    if default in (None, "", []):
        schema["type"] = [schema["type"], "null"]
    return Param(default, description, schema={**schema, "section": section} if section else schema)


def given(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Find what the form sets, else what the Variable sets; returns the values by name, and where each came from.

    The form always sends every field, so a value that is the default counts as not given: otherwise the Variable could
    never change a default. Raises UsageError that names the setting, what was found and what was expected.
    """
    form = trigger_form()
    values, sources = {}, {}
    for source, found in ("variable", _variable()), ("form", params):
        # A client of the REST API can send what the form does not ask for.
        _check(found, form, source)
        for name, value in found.items():
            if value is not None and value != form[name].value:
                values[name], sources[name] = value, source
    _validate_with_models(values, sources)
    return values, sources


def _variable() -> dict[str, Any]:
    text = Variable.get(VARIABLE, default=None)
    if text is None:
        return {}
    expected = 'expected a JSON object like {"n_init": 20}'
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"the Airflow Variable {VARIABLE} is not JSON ({error}): {expected}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the Airflow Variable {VARIABLE} is {text}: {expected}")
    return found


def _check(found: Mapping[str, Any], form: dict[str, Param], source: str) -> None:
    where = {"variable": f"the Airflow Variable {VARIABLE}", "form": "the run's configuration"}[source]
    for name, value in found.items():
        if name not in form:
            raise UsageError(f"{where} sets {name}, which no stage knows: expected some of {', '.join(form)}")
        if value is not None:
            try:
                Param(value, schema=form[name].schema).resolve()
            except ParamValidationError as error:
                message = str(error).splitlines()[0]
                raise UsageError(f"{where} sets {name} to {json.dumps(value)}: {message}") from None


def _validate_with_models(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Reject, before the first stage starts, what a later stage would reject, and settings that contradict each other."""
    texts = {name: to_text(value) for name, value in values.items()}
    try:
        PIPELINE.settings(run="unknown yet", **texts)  # type: ignore[arg-type]
    except ValidationError as error:
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        if not found["loc"]:
            origins = "; ".join(f"{name} is from the {source}" for name, source in sources.items() if name in message)
            raise UsageError(f"these settings contradict each other: {message} ({origins})") from None
        name = str(found["loc"][0])
        raise UsageError(f"{name}={texts.get(name)} ({sources.get(name)}) cannot be used: {message}") from None
