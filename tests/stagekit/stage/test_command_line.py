import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.settings import EvaluateSettings, ExtractSettings, PipelineSettings, TrainSettings, TransformSettings
from stagekit.errors import UsageError
from stagekit.serialization import to_flag, to_text
from stagekit.settings import StageSettings
from stagekit.stage.command_line import adopt_former_environment, parse, setting_sources


def read(model, *arguments):
    return parse(model, ["--run", "demo", *arguments], prog="test")


def test_a_flag_goes_before_the_environment_and_that_before_the_default(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "3")
    monkeypatch.setenv("PIPELINE_MAX_ITER", "50")
    settings = read(TrainSettings, "--n-init", "4")
    assert (settings.n_init, settings.max_iter, settings.random_state) == (4, 50, 7)
    origin = setting_sources(settings, ["--run", "demo", "--n-init", "4"])
    assert (origin["n_init"], origin["max_iter"], origin["random_state"]) == ("flag", "environment", "default")


def test_whoever_fills_the_environment_may_say_where_a_value_came_from(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "3")
    monkeypatch.setenv("PIPELINE_SOURCES", "n_init=form")
    assert setting_sources(read(TrainSettings), ["--run", "demo"])["n_init"] == "form"


@pytest.mark.parametrize("text", ["2,3,4", "[2, 3, 4]", "4,3,2", " 2, 3 ,4 "])
def test_lists_are_taken_as_people_and_as_programs_write_them(text):
    assert read(TrainSettings, f"--k-values={text}").k_values == (2, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--k-values", "2,x"], "--k-values is 'x': input should be a valid integer"),
        (["--k-values", "1,2"], "--k-values is '1': input should be greater than or equal to 2"),
        (["--k-values", "2,2"], "names a number twice"),
        (["--n-init", "0"], "greater than or equal to 1"),
        (["--bogus", "1"], "unrecognized arguments: --bogus"),
        (["--n-in", "1"], "unrecognized arguments: --n-in"),
        (["--upstream", "extract=abc"], "--upstream"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_found_and_expected(arguments, complaint):
    with pytest.raises(UsageError) as error:
        read(TrainSettings, *arguments)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "argument", "complaint"),
    [
        (TrainSettings, "--k-values=2,2", "--k-values is '2,2': names a number twice"),
        (TransformSettings, "--feature-columns=A,A", "--feature-columns is 'A,A': names a column twice"),
        (TransformSettings, "--log-columns=X", "--log-columns is 'X': column X is not among the feature columns BALANCE"),
        (ExtractSettings, "--feature-columns=CUST_ID,BALANCE", "--feature-columns is 'CUST_ID,BALANCE': names CUST_ID, which"),
        (TransformSettings, "--group-column=BALANCE", "--group-column is 'BALANCE': is a feature column too"),
        (TransformSettings, "--outliers=burn", "--outliers is 'burn': input should be 'keep', 'clip' or 'drop'"),
    ],
)
def test_a_complaint_is_one_sentence_that_begins_with_the_setting_and_its_value(model, argument, complaint):
    with pytest.raises(UsageError) as error:
        read(model, argument)
    assert str(error.value).startswith(complaint)


def test_a_value_may_hold_a_line_end():
    assert parse(TrainSettings, ["--run=a\nb"], prog="test").run == "a\nb"


@pytest.mark.parametrize("value", [True, False])
def test_a_switch_is_a_flag_without_a_value(value):
    class Switch(StageSettings):
        is_on: bool = not value

    flag = to_flag("is_on", value)
    settings = read(Switch, flag)
    assert settings.is_on is value
    assert setting_sources(settings, [flag])["is_on"] == "flag"


def test_settings_that_contradict_each_other_are_named_with_the_remedy():
    with pytest.raises(UsageError) as error:
        read(PipelineSettings, "--k-values=2,3", "--n-clusters=4")
    assert str(error.value) == ("n_clusters is 4, expected one of k_values (2, 3): request one of these, or add 4 to k_values")


def test_one_wrong_setting_is_one_complaint():
    with pytest.raises(UsageError) as error:
        read(TrainSettings, "--k-values=abc", "--n-init=0")
    assert str(error.value).count("--k-values") == 1
    assert "--n-init" in str(error.value)


def test_an_empty_value_is_one_that_was_not_given(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "")
    settings = read(TrainSettings, "--k-values=")
    assert (settings.n_init, settings.k_values) == (10, tuple(range(2, 11)))


def test_a_missing_run_is_asked_for_by_flag_and_variable():
    with pytest.raises(UsageError, match=r"--run \(or PIPELINE_RUN\) is required"):
        parse(TrainSettings, [], prog="test")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "feature_columns": st.lists(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), max_size=4, unique=True).map(
                lambda names: list(dict.fromkeys([*names, "BALANCE", "PURCHASES"]))
            ),
            "log_columns": st.lists(st.sampled_from(["BALANCE", "PURCHASES"]), unique=True),
            "outliers": st.sampled_from(["keep", "clip", "drop"]),
            "outlier_fence": st.floats(0.001, 100),
            "min_group_size": st.integers(2, 10**6),
        },
    )
)
def test_a_setting_means_the_same_as_a_flag_a_variable_and_a_value(values):
    with pytest.MonkeyPatch.context() as patch:
        flags = [f"--{name.replace('_', '-')}={to_text(value)}" for name, value in values.items()]
        from_flags = read(TransformSettings, *flags)
        for name, value in values.items():
            patch.setenv(f"PIPELINE_{name.upper()}", to_text(value))
        from_environment = read(TransformSettings)
    assert from_flags == from_environment == TransformSettings(run="demo", **values)


@pytest.mark.parametrize("word", ["null", "None", "[]", "-", "1e5"])
def test_a_word_that_means_nothing_elsewhere_is_a_name_like_any_other(word):
    settings = read(TransformSettings, f"--run={word}", f"--group-column={word}")
    assert (settings.run, settings.group_column) == (word, word)


def test_help_says_what_a_setting_is_when_nothing_is_given(capsys):
    with pytest.raises(SystemExit) as ended:
        read(EvaluateSettings, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "(default: empty)" in text
    assert "(default: 150)" in text
    assert text.isprintable() or set(filter(lambda sign: not sign.isprintable(), text)) == {"\n"}


def test_help_names_types_in_words(capsys):
    with pytest.raises(SystemExit):
        read(PipelineSettings, "--help")
    usage = capsys.readouterr().out
    for flag in (
        "--volume FOLDER",
        "--k-values N,N,…",
        "--feature-columns NAME,NAME,…",
        "--delimiter SIGN",
        "--continuity-tolerance NUMBER",
    ):
        assert f"{flag}" in usage
    assert not re.search(r"--[a-z-]+ \S*(\bstr\b|\bint\b|\bfloat\b|\btuple\b|\bdict\b|\bPath\b)", usage)


def test_the_id_cannot_be_a_feature_and_the_decimal_mark_cannot_be_the_delimiter():
    with pytest.raises(UsageError, match=r"--(id-column|feature-columns) is .* names CUSTOMER, which tells customers apart"):
        read(ExtractSettings, "--id-column=CUSTOMER", "--feature-columns=BALANCE,CUSTOMER")
    with pytest.raises(UsageError, match="--decimal is ',': is the delimiter too"):
        read(ExtractSettings, "--decimal=,")
    assert read(ExtractSettings, "--delimiter=;", "--decimal=,").table_format == ("CUST_ID", ";", ",")


def test_a_former_prefix_is_accepted_with_a_warning_and_a_new_name_takes_precedence(monkeypatch, caplog):
    for name, value in {"FORMER_N_INIT": "3", "FORMER_MAX_ITER": "50", "PIPELINE_MAX_ITER": "60"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIPELINE_N_INIT", raising=False)
    adopt_former_environment("FORMER_")
    settings = read(TrainSettings)
    del os.environ["PIPELINE_N_INIT"]  # monkeypatch would restore it
    assert (settings.n_init, settings.max_iter) == (3, 60)
    assert caplog.messages == ["FORMER_MAX_ITER, FORMER_N_INIT: rename to PIPELINE_..., the former prefix will be removed"]


def test_without_a_former_prefix_nothing_is_renamed(monkeypatch, caplog):
    monkeypatch.setenv("FORMER_N_INIT", "3")
    adopt_former_environment("")
    assert not caplog.messages
