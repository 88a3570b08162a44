import pytest

from stagekit.airflow.trigger_form import choose_settings, trigger_form
from stagekit.errors import UsageError
from tests.stagekit.airflow.probe_pipeline import PIPELINE

FIELDS = trigger_form(PIPELINE, ("k_values", "n_clusters"))
DEFAULTS = {name: field.value for name, field in FIELDS.items()}


@pytest.fixture(autouse=True)
def variable(monkeypatch):
    """A function that sets the Airflow Variable, which does not exist by default."""
    monkeypatch.delenv("AIRFLOW_VAR_PROBE_PIPELINE", raising=False)
    return lambda text: monkeypatch.setenv("AIRFLOW_VAR_PROBE_PIPELINE", text)


def choose(**changes):
    """Choose the settings for a form with some fields changed."""
    return choose_settings(PIPELINE, DEFAULTS | changes)


def test_the_primary_fields_are_first_then_those_of_several_stages_then_those_of_one():
    assert [(name, field.schema.get("section")) for name, field in FIELDS.items()] == [
        ("k_values", None),
        ("n_clusters", None),
        ("dask_scheduler", "General"),
        ("feature_columns", "Transform"),
        ("log_columns", "Transform"),
        ("outliers", "Transform"),
        ("n_init", "Train"),
        ("publish", "Segment"),
    ]


def test_a_list_is_a_text_field_that_shows_its_default_as_people_type_it():
    fields = [FIELDS[name] for name in ("k_values", "feature_columns", "log_columns")]
    # The form shows the field of the first type, but only if the schema has examples.
    assert [(field.schema["type"], field.schema["examples"], field.value) for field in fields] == [
        (["string", "array"], ["2-10"], "2-10"),
        (["string", "array"], ["BALANCE, PURCHASES"], "BALANCE, PURCHASES"),
        (["string", "array", "null"], [], ""),
    ]


def test_the_default_form_leaves_every_setting_to_the_stages():
    assert choose() == ({}, {})


@pytest.mark.parametrize("value", ["2-5", "5,2, 4 ,3", "2,3-5", [5, 4, 3, 2], [2, 3, 4, 5], "[2, 3, 4, 5]"])
def test_integers_are_accepted_as_ranges_and_numbers_in_a_text_or_as_a_list(value):
    values, sources = choose(k_values=value)
    assert sorted(values["k_values"]) == [2, 3, 4, 5]
    assert sources == {"k_values": "form"}


@pytest.mark.parametrize("value", ["2-10", "2, 3-10", [2, 3, 4, 5, 6, 7, 8, 9, 10]])
def test_a_default_in_another_spelling_counts_as_not_set(value):
    assert choose(k_values=value) == ({}, {})


@pytest.mark.parametrize("value", ["A,B", " A , B ", ["A", "B"]])
def test_column_names_are_accepted_as_a_text_or_as_a_list(value):
    assert choose(feature_columns=value)[0] == {"feature_columns": ["A", "B"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k_values": "two"}, "sets k_values to \"two\": 'two' does not match"),
        ({"k_values": "5-2"}, 'sets k_values to "5-2"'),
        ({"k_values": "1-3"}, 'sets k_values to "1-3": Input should be greater than or equal to 2'),
        ({"feature_columns": ""}, "sets feature_columns"),
        ({"feature_columns": "A,A"}, 'sets feature_columns to "A,A": names a column twice'),
    ],
)
def test_an_invalid_text_is_refused_with_the_name_of_the_field(changes, message):
    with pytest.raises(UsageError) as refused:
        choose(**changes)
    assert message in str(refused.value)


def test_the_form_can_be_submitted_unchanged():
    # Airflow disables its button while a field is null or empty and does not allow null.
    for name, field in FIELDS.items():
        assert field.resolve() == DEFAULTS[name]
        assert field.value not in (None, "", []) or "null" in field.schema["type"], name


def test_the_form_takes_precedence_over_the_variable_and_that_over_the_default(variable):
    variable('{"n_init": 20, "outliers": "clip"}')
    assert choose(n_init=30) == ({"n_init": 30, "outliers": "clip"}, {"n_init": "form", "outliers": "variable"})


def test_a_field_that_shows_its_default_counts_as_not_set(variable):
    variable('{"n_init": 20}')
    assert choose() == ({"n_init": 20}, {"n_init": "variable"})


def test_null_counts_as_not_set():
    assert choose(n_clusters=None, log_columns=None) == ({}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{k_values: 2}", "the Airflow Variable probe_pipeline is not JSON (Expecting property name"),
        ("", "the Airflow Variable probe_pipeline is not JSON"),
        ("[2, 3]", "the Airflow Variable probe_pipeline is [2, 3]: expected a JSON object"),
        ('{"k_value": [2]}', "sets k_value, which does not exist: expected some of dask_scheduler, "),
        ('{"volume": "/etc"}', "sets volume, which does not exist"),
        ('{"k_values": [1, 2]}', "sets k_values to [1, 2]: 1 is less than the minimum of 2"),
        ('{"n_init": "many"}', "sets n_init to \"many\": 'many' is not of type 'integer'"),
    ],
)
def test_an_invalid_variable_is_refused_in_one_line_with_its_name(variable, text, message):
    variable(text)
    with pytest.raises(UsageError) as refused:
        choose()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_of_two_stages_that_contradict_each_other_are_refused_with_their_sources(variable):
    variable('{"n_clusters": 12}')
    with pytest.raises(UsageError) as refused:
        choose(k_values="2-4")
    assert str(refused.value) == (
        "these settings contradict each other: n_clusters is 12, expected one of k_values "
        "(n_clusters is from the variable; k_values is from the form)"
    )


def test_a_configuration_with_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="the run's configuration sets k_value, which does not exist"):
        choose(k_value=[2, 3])
