"""The trigger form of this pipeline: every field accepts what the stage accepts."""

import json

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError
from hypothesis import HealthCheck, settings
from hypothesis import given as for_any
from hypothesis import strategies as st
from pydantic import ValidationError

from dags.customer_segmentation_dag import PRIMARY_FIELDS
from services.pipeline import PIPELINE
from stagekit.airflow.trigger_form import choose_settings, trigger_form
from stagekit.errors import UsageError
from stagekit.serialization import to_flag, to_text
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings
from stagekit.stage.command_line import parse

FIELDS = trigger_form(PIPELINE, PRIMARY_FIELDS)
DEFAULTS = {name: field.value for name, field in FIELDS.items()}

every_field = pytest.mark.parametrize(
    ("stage", "name"),
    [(stage.name, name) for stage in PIPELINE.stages for name in stage.settings.model_fields if name in FIELDS],
)


def test_every_setting_of_every_stage_is_a_field_with_title_and_description():
    expected = {name for stage in PIPELINE.stages for name in stage.settings.model_fields} - set(StageSettings.model_fields)
    assert set(FIELDS) == expected
    assert all(field.schema["title"] and field.description for field in FIELDS.values())


def test_at_most_seven_fields_are_above_the_folded_sections():
    assert [name for name, field in FIELDS.items() if "section" not in field.schema] == list(PRIMARY_FIELDS)
    assert len(PRIMARY_FIELDS) <= 7


@pytest.mark.parametrize(
    "values",
    [
        {"n_clusters": 12},
        {"n_clusters": 2, "k_values": "3-4"},
        {"feature_columns": "PAYMENTS", "log_columns": "BALANCE"},
        {"feature_columns": "PAYMENTS, TENURE", "group_column": "TENURE"},
    ],
)
def test_the_form_rejects_values_that_contradict_a_default_or_another_field(values):
    with pytest.raises(UsageError):
        choose_settings(PIPELINE, DEFAULTS | values)


def values_of(schema):
    """Return a strategy for values of the type of a field, valid and invalid ones, near the bounds and far from them."""
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kind = "array" if "array" in kinds else kinds[0]
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "", "other", schema["enum"][0].upper()])
    if kind == "array":
        return st.lists(values_of(schema["items"]), max_size=3)
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        paths = [".", "..", "a/../b", "/a", "a//b", "a/", "./a", "a..b/c", "data/x.csv"]
        names = ["A, B", "['A']", "[", '"', " A ", "ü", "\0"]
        return st.text(max_size=8) | st.sampled_from(paths) | st.sampled_from(names) | st.just("tcp://dask-scheduler:8786")
    bounds = [schema.get(name) for name in ("minimum", "maximum", "exclusiveMinimum") if name in schema]
    near = st.sampled_from([bound + step for bound in bounds for step in (-1, 0, 1)])
    if kind == "integer":
        return near | st.integers() | st.integers(-(10**6), 10**6).map(float) | st.just(1e22)
    assert kind == "number"
    return near | st.floats(allow_nan=False, allow_infinity=False)


def accepted_by_form(name, value):
    try:
        Param(value, schema=FIELDS[name].schema).resolve()
    except ParamValidationError:
        return False
    return True


def accepted_by_stage(model, name, value):
    """Return whether the stage accepts the text that Airflow would write into its environment; it must parse the same value."""
    # A field cannot know about other settings: `choose_settings` validates them together.
    others = {}
    if name == "log_columns" and value:
        others = {"feature_columns": to_text(value)}
    if name == "group_column":
        others = {"feature_columns": to_text([value + " not"])}
    if name == "decimal":
        others = {"delimiter": "|"}
    try:
        accepted = model(run="demo", **{name: to_text(value)}, **others)
    except ValidationError:
        return False
    expected = sorted(value) if name == "k_values" else value
    assert getattr(accepted, name) == (tuple(expected) if isinstance(expected, list) else expected)
    return True


@every_field
@settings(suppress_health_check=[HealthCheck.too_slow])
@for_any(data=st.data())
def test_a_value_means_the_same_in_the_form_as_a_flag_and_as_an_environment_variable(stage, name, data):
    value = data.draw(values_of(FIELDS[name].schema))
    accepted = accepted_by_form(name, value)
    assert accepted == accepted_by_stage(PIPELINE[stage].settings, name, value), json.dumps(value)
    if not accepted or not to_text(value):  # an empty one counts as not set
        return
    others = {"log_columns": {"feature_columns": value}, "decimal": {"delimiter": "|"}}
    values = {**others.get(name, {}), name: value}
    texts = {known: to_text(one) for known, one in values.items()}
    form = PIPELINE[stage].settings(run="demo", **texts)
    flags = [to_flag(known, one) for known, one in values.items()]
    assert parse(PIPELINE[stage].settings, ["--run=demo", *flags], prog="test") == form
    with pytest.MonkeyPatch.context() as environment:
        for known, text in texts.items():
            environment.setenv(f"{ENVIRONMENT_PREFIX}{known.upper()}", text)
        assert parse(PIPELINE[stage].settings, ["--run=demo"], prog="test") == form
