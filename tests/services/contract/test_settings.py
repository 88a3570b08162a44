import pytest

from services.contract.settings import PipelineSettings, ScoreSettings
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


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.csv", "data/../../x.csv", ".."])
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
