"""The trigger form and the Airflow Variable of a pipeline, two ways to change the settings of its stages.

Both are validated with the same JSON schema, which pydantic derives from the model that the stage itself validates with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from airflow.sdk import Context, Param, Variable
from airflow.sdk.exceptions import ParamValidationError
from pydantic import TypeAdapter, ValidationError

from stagekit.airflow.schedule import is_for_past_date
from stagekit.errors import UsageError
from stagekit.pipeline import Pipeline
from stagekit.serialization import parse_list, to_text
from stagekit.settings import StageSettings

PAST_DATE = "backfill"
"""Source of the setting `publish` if the run is for a past date."""

_INTEGERS = r"^\s*\[?\s*\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*\s*\]?\s*$"


def trigger_form(pipeline: Pipeline, primary: tuple[str, ...] = ()) -> dict[str, Param]:
    """Return one field for every setting of every stage.

    Parameters
    ----------
    pipeline : Pipeline
    primary : tuple of str
        Settings that are shown first, above the sections that Airflow's form shows folded. The others are in the section of
        their stage, or in the section General if several stages have them.
    """
    schemas: dict[str, dict[str, Any]] = {}
    stages: dict[str, list[str]] = {}
    for stage in pipeline.stages:
        for name, schema in stage.settings.model_json_schema().get("properties", {}).items():
            if name not in StageSettings.model_fields:
                schemas.setdefault(name, schema)
                stages.setdefault(name, []).append(stage.name.capitalize())
    general = [name for name in schemas if len(stages[name]) > 1]
    return {
        name: make_field(schemas[name], None if name in primary else "General" if name in general else stages[name][0])
        for name in dict.fromkeys([*primary, *general, *schemas])
    }


def make_field(schema: dict[str, Any], section: str | None = None) -> Param:
    """Return the field of a setting, from its JSON schema."""
    default, description = schema.pop("default"), schema.pop("description")
    # Airflow recognises "X or null" as optional, but only in this spelling.
    for alternative in schema.pop("anyOf", []):
        schema = {**alternative, **schema} if alternative["type"] != "null" else schema
    if schema["type"] == "array":
        # A text field, instead of an editor for JSON; the REST API and the Variable also accept lists. Without examples, the
        # form would show its field for several types.
        is_optional, default = not default, _format_list(default)
        schema |= {"type": ["string", "array"], "minLength": 0 if is_optional else 1, "examples": [default] if default else []}
        if schema["items"].get("type") == "integer":
            schema["pattern"] = _INTEGERS
    # Without null, the form requires an entry even if the default is empty.
    if default in (None, ""):
        schema["type"] = [*([schema["type"]] if isinstance(schema["type"], str) else schema["type"]), "null"]
    return Param(default, description, schema={**schema, "section": section} if section else schema)


def _format_list(values: list[Any]) -> str:
    """Return a list as people type it: `2-10` for consecutive integers, else separated by commas."""
    are_integers = len(values) > 1 and all(isinstance(value, int) for value in values)
    if are_integers and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}-{values[-1]}"
    text = ", ".join(map(str, values))
    return text if parse_list(text) == [str(value) for value in values] else to_text(values)


def choose_run_settings(pipeline: Pipeline, context: Context) -> tuple[dict[str, Any], dict[str, str]]:
    """Choose the settings of a run like `choose_settings`; a run for a past date does not publish unless `publish` is always.

    The run reads the current files: published, they would be active as those of an old date.
    """
    values, sources = choose_settings(pipeline, context["params"])
    is_undecided = "publish" in context["params"] and values.get("publish") not in ("never", "always")
    if is_undecided and is_for_past_date(context["dag_run"], context["dag"].timetable):
        values["publish"], sources["publish"] = "never", PAST_DATE
    return values, sources


def explain_past_date(sources: Mapping[str, str]) -> str:
    """Return the sentence that explains why a run for a past date is not published; empty for other runs."""
    if sources.get("publish") != PAST_DATE:
        return ""
    return (
        "Not published, since this run is for a past date of the schedule and read the current files; Publish set to always "
        "would publish it. "
    )


def choose_settings(pipeline: Pipeline, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Choose each setting from the form, or else from the Variable, which has the name of the pipeline.

    The form always sends every field, so a value that equals the default counts as not set: otherwise the Variable could never
    change a default.

    Returns
    -------
    values : dict
        The settings that are not defaults, by name.
    sources : dict of str
        `form` or `variable`, by name.

    Raises
    ------
    UsageError
        If a setting is unknown or invalid; the message names it, what was found and what is expected.
    """
    form = trigger_form(pipeline)
    origins = {"variable": f"the Airflow Variable {pipeline.identifier}", "form": "the run's configuration"}
    values, sources = {}, {}
    for source, found in ("variable", read_variable(pipeline.identifier)), ("form", params):
        # A client of the REST API can send settings that the form does not have.
        validate_with_form(found, form, origins[source])
        for name, value in found.items():
            parsed = _parse(pipeline, name, value, origins[source])
            if value is not None and parsed != _parse(pipeline, name, form[name].value, origins[source]):
                values[name], sources[name] = parsed, source
    _validate_with_models(pipeline, values, sources)
    return values, sources


def read_variable(name: str) -> dict[str, Any]:
    """Read an Airflow Variable with settings; empty if there is none. Raises UsageError if it is not a JSON object."""
    text = Variable.get(name, default=None)
    if text is None:
        return {}
    expected = 'expected a JSON object like {"setting": 20}'
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"the Airflow Variable {name} is not JSON ({error}): {expected}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the Airflow Variable {name} is {text}: {expected}")
    return found


def validate_with_form(found: Mapping[str, Any], form: Mapping[str, Param], origin: str) -> None:
    """Raise UsageError, which names the origin, if one of the values found there is unknown to the form or rejected by it."""
    for name, value in found.items():
        if name not in form:
            raise UsageError(f"{origin} sets {name}, which does not exist: expected some of {', '.join(form)}")
        if value is not None:
            try:
                Param(value, schema=form[name].schema).resolve()
            except ParamValidationError as error:
                message = str(error).splitlines()[0]
                raise UsageError(f"{origin} sets {name} to {json.dumps(value)}: {message}") from None


def _parse(pipeline: Pipeline, name: str, value: Any, origin: str) -> Any:
    """Return the list that a text represents, if the setting is a list; any other value unchanged."""
    field = pipeline.settings.model_fields[name]
    if value is None or not isinstance(field.get_default(), tuple):
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(field.annotation, *field.metadata)])  # type: ignore[arg-type]
        return list(adapter.validate_python(value))
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{origin} sets {name} to {json.dumps(value)}: {message}") from None


def _validate_with_models(pipeline: Pipeline, values: dict[str, Any], sources: dict[str, str]) -> None:
    """Reject, before the first stage starts, what a later stage would reject, and settings that contradict each other."""
    texts = {name: to_text(value) for name, value in values.items()}
    try:
        pipeline.settings(run="unknown yet", **texts)  # type: ignore[arg-type]
    except ValidationError as error:
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        if not found["loc"]:
            origins = "; ".join(f"{name} is from the {source}" for name, source in sources.items() if name in message)
            raise UsageError(f"these settings contradict each other: {message} ({origins})") from None
        name = str(found["loc"][0])
        raise UsageError(f"{name}={texts.get(name)} ({sources.get(name)}) cannot be used: {message}") from None
