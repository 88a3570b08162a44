import pytest

from services.contract.settings import ExtractSettings, PipelineSettings, ScoreSettings, TrainSettings, TransformSettings
from services.pipeline import PIPELINE
from stagekit.errors import UsageError
from stagekit.stage.command_line import parse


def read(model, *arguments):
    return parse(model, ["--run", "demo", *arguments], prog="test")


def test_nothing_given_is_the_recipe_of_the_lab():
    settings = read(PipelineSettings)
    assert settings.data_file == "data/file.csv"
    assert settings.feature_columns == ("BALANCE", "PURCHASES", "CREDIT_LIMIT")
    assert settings.k_values == (2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert (settings.n_init, settings.max_iter, settings.random_state) == (10, 300, 7)
    assert settings.test_file == "data/test.csv"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.csv", "data/../../x.csv", "d/./../../x", "..", ".", "/", "data//x"])
def test_a_path_cannot_leave_the_volume(path):
    with pytest.raises(UsageError, match="inside the volume"):
        read(PIPELINE["extract"].settings, f"--data-file={path}")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("data/" + "x" * 256, "names of at most 255 bytes, one has 256"),
        ("é" * 128, "names of at most 255 bytes, one has 256"),
        ("x" * 5000, "at most 1,024 bytes, has 5,000"),
        ("d/" * 512 + "f", "at most 1,024 bytes, has 1,025"),
        ("data/\udcff.csv", "must be UTF-8"),
    ],
)
@pytest.mark.parametrize("setting", ["data-file", "test-file", "names-file", "score"])
def test_a_path_that_no_file_system_takes_is_refused_in_a_short_message(setting, path, complaint):
    model = ScoreSettings if setting == "score" else PipelineSettings
    with pytest.raises(UsageError, match=f"--{setting} is .*{complaint}") as refused:
        read(model, f"--{setting}={path}")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("path", ["x" * 255, "é" * 127, "d/" * 511 + "ff"])
def test_a_path_may_be_as_long_as_a_file_system_takes(path):
    assert read(PIPELINE["extract"].settings, f"--data-file={path}").data_file == path


def test_every_setting_has_a_title_and_a_description():
    for model in (stage.settings for stage in PIPELINE.stages):
        for name, field in model.model_fields.items():
            assert field.title, name
            assert field.description, name
            assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("model", "argument", "message"),
    [
        (TrainSettings, "--k-values=1,2", "--k-values is '1': input should be greater than or equal to 2"),
        (TrainSettings, "--k-values=2,2", "--k-values is '2,2': names a number twice"),
        (TransformSettings, "--log-columns=X", "--log-columns is 'X': column X is not among the feature columns BALANCE"),
        (ExtractSettings, "--feature-columns=CUST_ID,BALANCE", "--feature-columns is 'CUST_ID,BALANCE': names CUST_ID, which"),
        (TransformSettings, "--group-column=BALANCE", "--group-column is 'BALANCE': is a feature column too"),
        (PipelineSettings, "--log-columns=X", "--log-columns is 'X': column X is not among the feature columns BALANCE"),
        (PipelineSettings, "--group-column=BALANCE", "--group-column is 'BALANCE': is a feature column too"),
        (ExtractSettings, "--decimal=,", "--decimal is ',': is the delimiter too"),
    ],
)
def test_an_invalid_setting_is_named_with_its_value_and_the_reason(model, argument, message):
    with pytest.raises(UsageError) as error:
        read(model, argument)
    assert str(error.value).startswith(message)


def test_k_values_are_sorted():
    assert read(TrainSettings, "--k-values=4,3,2").k_values == (2, 3, 4)


def test_settings_that_contradict_each_other_are_named_with_the_remedy():
    with pytest.raises(UsageError) as error:
        read(PipelineSettings, "--k-values=2,3", "--n-clusters=4")
    assert str(error.value) == ("n_clusters is 4, expected one of k_values (2, 3): request one of these, or add 4 to k_values")


def test_the_id_column_cannot_be_a_feature_also_under_another_name():
    with pytest.raises(UsageError, match=r"--(id-column|feature-columns) is .* names CUSTOMER, which"):
        read(ExtractSettings, "--id-column=CUSTOMER", "--feature-columns=BALANCE,CUSTOMER")


def test_a_comma_can_be_the_decimal_mark_if_it_is_not_the_delimiter():
    assert read(ExtractSettings, "--delimiter=;", "--decimal=,").table_format[:3] == ("CUST_ID", ";", ",")
