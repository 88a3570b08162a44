import json

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError
from hypothesis import HealthCheck, assume, settings
from hypothesis import given as for_any
from hypothesis import strategies as st
from pydantic import ValidationError

from services.pipeline import PIPELINE
from stagekit.airflow.trigger_form import given, trigger_form
from stagekit.errors import UsageError
from stagekit.serialization import to_flag, to_text
from stagekit.settings import StageSettings
from stagekit.stage.command_line import parse

FIELDS = trigger_form()
DEFAULTS = {name: field.value for name, field in FIELDS.items()}


@pytest.fixture(autouse=True)
def variable(monkeypatch):
    """Sets the Airflow Variable; there is none unless a test sets it."""
    monkeypatch.delenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION", raising=False)
    return lambda text: monkeypatch.setenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION", text)


def test_every_setting_of_every_stage_is_a_field_with_title_and_description():
    expected = {name for model in (stage.settings for stage in PIPELINE.stages) for name in model.model_fields} - set(
        StageSettings.model_fields
    )
    assert set(FIELDS) == expected
    assert all(field.schema["title"] and field.description for field in FIELDS.values())


def test_nothing_filled_in_leaves_everything_to_the_stages():
    assert given(DEFAULTS) == ({}, {})


def test_the_form_can_be_sent_as_it_is_shown():
    # Airflow keeps its button disabled while a field holds null or nothing and does not allow null.
    for name, field in FIELDS.items():
        assert field.resolve() == DEFAULTS[name]
        assert field.value not in (None, "", []) or "null" in field.schema["type"], name


def test_only_the_usual_settings_stand_in_the_section_that_is_shown_unfolded():
    assert [name for name, field in FIELDS.items() if "section" not in field.schema] == list(FIELDS)[:6]
    assert FIELDS["n_init"].schema["section"] == "Train"


def test_a_field_that_is_filled_in_goes_before_the_variable_and_that_before_the_default(variable):
    variable('{"n_init": 20, "max_iter": 50}')
    assert given({**DEFAULTS, "n_init": 30}) == ({"n_init": 30, "max_iter": 50}, {"n_init": "form", "max_iter": "variable"})


def test_a_field_that_shows_its_default_counts_as_not_filled_in(variable):
    variable('{"n_init": 20}')
    assert given({**DEFAULTS, "n_init": 10}) == ({"n_init": 20}, {"n_init": "variable"})


def test_null_counts_as_not_filled_in():
    assert given({**DEFAULTS, "n_clusters": None, "group_column": None, "log_columns": None}) == ({}, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{k_values: 2}", "the Airflow Variable customer_segmentation is not JSON (Expecting property name"),
        ("", "the Airflow Variable customer_segmentation is not JSON"),
        ("[2, 3]", "the Airflow Variable customer_segmentation is [2, 3]: expected a JSON object"),
        ('{"k_value": [2]}', "sets k_value, which no stage knows: expected some of k_values, "),
        ('{"volume": "/etc"}', "sets volume, which no stage knows"),
        ('{"k_values": [1, 2]}', "sets k_values to [1, 2]: 1 is less than the minimum of 2"),
        ('{"n_init": "many"}', "sets n_init to \"many\": 'many' is not of type 'integer'"),
        ('{"data_file": "../../etc/passwd"}', 'sets data_file to "../../etc/passwd"'),
        ('{"group_column": "BALANCE"}', "group_column=BALANCE (variable) cannot be used: is a feature column too"),
        ('{"log_columns": ["TENURE"]}', "log_columns=TENURE (variable) cannot be used: column TENURE is not among"),
    ],
)
def test_a_wrong_variable_is_refused_in_one_line_that_names_it(variable, text, complaint):
    variable(text)
    with pytest.raises(UsageError) as refused:
        given(DEFAULTS)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_of_two_stages_that_contradict_each_other_are_rejected_with_their_sources(variable):
    variable('{"n_clusters": 12}')
    with pytest.raises(UsageError) as rejected:
        given({**DEFAULTS, "k_values": [2, 3, 4]})
    assert str(rejected.value) == (
        "these settings contradict each other: n_clusters is 12, expected one of k_values (2, 3, 4): request one of these, "
        "or add 12 to k_values (n_clusters is from the variable; k_values is from the form)"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"n_clusters": 12},
        {"n_clusters": 2, "k_values": [3, 4]},
        {"feature_columns": ["PAYMENTS"], "log_columns": ["BALANCE"]},
        {"feature_columns": ["PAYMENTS", "TENURE"], "group_column": "TENURE"},
    ],
)
def test_the_form_rejects_what_contradicts_a_default_or_another_field(values):
    with pytest.raises(UsageError):
        given({**DEFAULTS, **values})


def test_a_requested_number_of_segments_that_is_fitted_is_accepted():
    assert given({**DEFAULTS, "n_clusters": 3, "k_values": [3, 4]})[0] == {"n_clusters": 3, "k_values": [3, 4]}


def test_a_configuration_that_names_no_setting_is_refused():
    with pytest.raises(UsageError, match="the run's configuration sets k_value, which no stage knows"):
        given({**DEFAULTS, "k_value": [2, 3]})


def values_of(schema):
    """Values of the type that a field asks for, right and wrong ones, near the bounds and far from them."""
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "", "other", schema["enum"][0].upper()])
    if kind == "array":
        return st.lists(values_of(schema["items"]), max_size=3)
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        paths = [".", "..", "a/../b", "/a", "a//b", "a/", "./a", "a..b/c", "data/x.csv", "tcp://dask-scheduler:8786"]
        names = ["A, B", "['A']", "[", '"', " A ", "ü", "\0"]
        return st.text(max_size=8) | st.sampled_from(paths) | st.sampled_from(names)
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
    """Whether the stage accepts what Airflow would write into its environment; what it then reads must be what was meant."""
    # What one setting means to another is no field's business: `given` has every stage's model judge them together.
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
    meant = sorted(value) if name == "k_values" else value
    assert getattr(accepted, name) == (tuple(meant) if isinstance(meant, list) else meant)
    return True


@pytest.mark.parametrize(
    ("stage", "name"), [(s, n) for s in PIPELINE.stage_names for n in PIPELINE[s].settings.model_fields if n in FIELDS]
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no defect
@for_any(data=st.data())
def test_form_and_stage_accept_the_same_and_understand_it_alike(stage, name, data):
    value = data.draw(values_of(FIELDS[name].schema))
    assert accepted_by_form(name, value) == accepted_by_stage(PIPELINE[stage].settings, name, value), json.dumps(value)


@pytest.mark.parametrize(
    ("stage", "name"), [(s, n) for s in PIPELINE.stage_names for n in PIPELINE[s].settings.model_fields if n in FIELDS]
)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@for_any(data=st.data())
def test_a_value_of_the_form_is_the_same_as_a_flag_and_as_a_variable_of_the_environment(stage, name, data):
    value = data.draw(values_of(FIELDS[name].schema))
    assume(accepted_by_form(name, value) and to_text(value))  # an empty one counts as not given
    others = {"log_columns": {"feature_columns": value}, "decimal": {"delimiter": "|"}}
    values = {**others.get(name, {}), name: value}
    texts = {known: to_text(one) for known, one in values.items()}
    form = PIPELINE[stage].settings(run="demo", **texts)
    flags = [to_flag(known, one) for known, one in values.items()]
    assert parse(PIPELINE[stage].settings, ["--run=demo", *flags], prog="test") == form
    with pytest.MonkeyPatch.context() as environment:
        for known, text in texts.items():
            environment.setenv(f"SEGMENTATION_{known.upper()}", text)
        assert parse(PIPELINE[stage].settings, ["--run=demo"], prog="test") == form
