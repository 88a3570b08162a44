"""Settings from flags, the environment and defaults, with a model that has every type of setting."""

import re
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from stagekit.errors import UsageError
from stagekit.serialization import parse_list, to_flag, to_text
from stagekit.settings import ColumnNames, PartitionedStageSettings, VolumePath
from stagekit.stage.command_line import adopt_former_environment, parse, setting_sources


class Probe(PartitionedStageSettings):
    numbers: Annotated[tuple[int, ...], NoDecode, BeforeValidator(parse_list)] = Field((1, 2), description="Some numbers.")
    columns: ColumnNames = Field(("A",), description="Some columns.")
    n_init: int = Field(10, ge=1, description="A number.")
    limit: int | None = Field(None, description="A number, or empty for none.")
    share: float = Field(0.5, gt=0, le=100, description="A share.")
    method: Literal["keep", "drop"] = Field("keep", description="A choice.")
    delimiter: Literal[",", ";"] = Field(",", description="A sign.")
    label: str = Field("", description="A text.")
    data_file: VolumePath = Field("data/file.csv", description="A path.")
    is_on: bool = Field(False, description="A switch.")
    is_off: bool = Field(True, description="A switch.")

    @model_validator(mode="after")
    def _validate_together(self) -> "Probe":
        if self.limit is not None and self.limit < self.n_init:
            raise ValueError(f"limit is {self.limit}, expected at least n_init ({self.n_init})")
        return self


def read(*arguments):
    return parse(Probe, ["--run", "demo", *arguments], prog="test")


def test_a_flag_takes_precedence_over_the_environment_and_that_over_the_default(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "3")
    monkeypatch.setenv("PIPELINE_SHARE", "50")
    settings = read("--n-init", "4")
    assert (settings.n_init, settings.share, settings.method) == (4, 50, "keep")
    sources = setting_sources(settings, ["--run", "demo", "--n-init", "4"])
    assert (sources["n_init"], sources["share"], sources["method"]) == ("flag", "environment", "default")


def test_a_program_that_sets_the_environment_can_report_its_own_sources(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "3")
    monkeypatch.setenv("PIPELINE_SOURCES", "n_init=form")
    assert setting_sources(read(), ["--run", "demo"])["n_init"] == "form"


@pytest.mark.parametrize("text", ["2,3,4", "[2, 3, 4]", " 2, 3 ,4 "])
def test_a_list_is_accepted_as_people_and_as_programs_write_it(text):
    assert read(f"--numbers={text}").numbers == (2, 3, 4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--numbers=2,x", "--numbers is 'x': input should be a valid integer"),
        ("--columns=A,A", "--columns is 'A,A': names a column twice"),
        ("--n-init=0", "--n-init is '0': input should be greater than or equal to 1"),
        ("--method=burn", "--method is 'burn': input should be 'keep' or 'drop'"),
        ("--data-file=../x", "--data-file is '../x': must be a path inside the volume"),
        ("--dask-scheduler=x", "--dask-scheduler is 'x': must be an address like tcp://dask-scheduler:8786, or empty"),
        ("--upstream=read=abc", "--upstream is 'abc': string should match pattern"),
        ("--limit=3", "limit is 3, expected at least n_init (10)"),
        ("--bogus=1", "unrecognized arguments: --bogus"),
        ("--n-in=1", "unrecognized arguments: --n-in"),
    ],
)
def test_an_invalid_setting_is_named_in_one_line_with_what_was_found_and_expected(argument, message):
    with pytest.raises(UsageError) as error:
        read(argument)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_several_invalid_settings_are_named_once_each():
    with pytest.raises(UsageError) as error:
        read("--numbers=a,b", "--n-init=0")
    assert str(error.value).count("--numbers") == 1
    assert "--n-init" in str(error.value)


def test_a_value_may_contain_a_line_end():
    assert parse(Probe, ["--run=a\nb"], prog="test").run == "a\nb"


@pytest.mark.parametrize(("name", "value"), [("is_on", True), ("is_off", False)])
def test_a_switch_is_a_flag_without_a_value(name, value):
    flag = to_flag(name, value)
    settings = read(flag)
    assert getattr(settings, name) is value
    assert setting_sources(settings, [flag])[name] == "flag"


def test_an_empty_value_is_treated_as_not_given(monkeypatch):
    monkeypatch.setenv("PIPELINE_N_INIT", "")
    assert read().n_init == 10


def test_a_missing_run_is_requested_by_flag_and_variable():
    with pytest.raises(UsageError, match=r"--run \(or PIPELINE_RUN\) is required"):
        parse(Probe, [], prog="test")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "columns": st.lists(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), min_size=1, max_size=4, unique=True),
            "method": st.sampled_from(["keep", "drop"]),
            "share": st.floats(0.001, 100),
            "n_init": st.integers(1, 10**6),
            "is_on": st.booleans(),
        },
    )
)
def test_a_setting_means_the_same_as_a_flag_a_variable_and_a_value(values):
    with pytest.MonkeyPatch.context() as patch:
        from_flags = read(*(to_flag(name, value) for name, value in values.items()))
        for name, value in values.items():
            patch.setenv(f"PIPELINE_{name.upper()}", to_text(value))
        from_environment = read()
    assert from_flags == from_environment == Probe(run="demo", **values)


@pytest.mark.parametrize("word", ["null", "None", "[]", "-", "1e5"])
def test_a_word_with_a_meaning_elsewhere_is_a_text_like_any_other(word):
    settings = read(f"--run={word}", f"--label={word}")
    assert (settings.run, settings.label) == (word, word)


def test_help_shows_defaults_and_names_types_in_words(capsys):
    with pytest.raises(SystemExit) as ended:
        read("--help")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "(default: empty)" in text
    assert "(default: 10)" in text
    assert set(filter(lambda sign: not sign.isprintable(), text)) == {"\n"}
    flags = ("volume FOLDER", "numbers N,N,…", "columns NAME,NAME,…", "delimiter SIGN", "share NUMBER", "limit N")
    assert [flag for flag in flags if f"--{flag}" not in text] == []
    assert not re.search(r"--[a-z-]+ \S*(\bstr\b|\bint\b|\bfloat\b|\btuple\b|\bdict\b|\bPath\b)", text)


def test_a_former_prefix_is_accepted_with_a_warning_and_a_new_name_takes_precedence(monkeypatch, caplog):
    for name, value in {"FORMER_N_INIT": "3", "FORMER_SHARE": "50", "PIPELINE_SHARE": "60"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIPELINE_N_INIT", "")
    monkeypatch.delenv("PIPELINE_N_INIT")
    adopt_former_environment("FORMER_")
    settings = read()
    assert (settings.n_init, settings.share) == (3, 60)
    assert caplog.messages == ["FORMER_N_INIT, FORMER_SHARE: rename to PIPELINE_..., the former prefix will be removed"]


def test_without_a_former_prefix_nothing_is_renamed(monkeypatch, caplog):
    monkeypatch.setenv("FORMER_N_INIT", "3")
    adopt_former_environment("")
    assert not caplog.messages
