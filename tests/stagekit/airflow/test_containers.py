import shlex

import pytest

from stagekit.airflow.containers import StageCall, StageContainer, name_image
from stagekit.airflow.host_settings import HostSettings, read_host_settings
from stagekit.errors import SetupError, UsageError
from stagekit.pipeline import Stage


def container(**changes):
    described = {
        "image": "probe-pipeline/train:latest",
        "command": ["--run=demo"],
        "environment": {},
        "writable": ("runs/demo/train",),
        "host": HostSettings(host_volume="/srv/volume"),
    }
    return StageContainer(**(described | changes))


@pytest.mark.parametrize("text", ["two words", "$(id)", "a;b", "it's", 'a "quote"', "a\nb", "*", "ü", "`id`", "-v=/:/host"])
def test_what_a_user_typed_cannot_leave_its_place_in_the_command_line(text):
    line = container(command=[f"--run={text}"], environment={"PIPELINE_SCALE_BY": text}).docker_run
    words = shlex.split(line)
    assert words[-1] == f"--run={text}"
    assert f"--env=PIPELINE_SCALE_BY={text}" in words
    assert words[:3] == ["docker", "run", "--rm"]


def test_a_path_with_a_comma_stays_one_field_of_the_mount():
    line = container(host=HostSettings(host_volume='/srv/a,b "c"')).docker_run
    assert '--mount=type=bind,"source=/srv/a,b ""c""",target=/shared,readonly' in shlex.split(line)


@pytest.mark.parametrize(("allowed", "listed"), [("", "none"), ("tcp://dask:8786", "tcp://dask:8786")])
def test_a_dask_scheduler_that_the_installation_does_not_allow_is_refused(allowed, listed):
    call = StageCall(Stage("train"), "demo", {"dask_scheduler": "tcp://stranger:8786"}, {}, ("runs/demo/train",))
    with pytest.raises(UsageError, match=f"dask_scheduler tcp://stranger:8786 is not allowed; allowed: {listed} "):
        name_image(call, HostSettings(host_volume="/v", dask_schedulers=allowed), "probe-pipeline")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "PIPELINE_HOST_VOLUME is not set: expected the path of shared_volume on the Docker host"),
        ({"HOST_VOLUME": "shared_volume"}, "PIPELINE_HOST_VOLUME is 'shared_volume': expected the path of shared_volume"),
        ({"HOST_VOLUME": "/v", "STAGE_USER": "me"}, "PIPELINE_STAGE_USER is 'me': expected the uid:gid"),
        ({"HOST_VOLUME": "/v", "STAGE_MEMORY": "lots"}, "PIPELINE_STAGE_MEMORY is 'lots': expected the memory limit"),
        ({"HOST_VOLUME": "/v", "STAGE_CPUS": "0"}, "PIPELINE_STAGE_CPUS is '0': expected the hard CPU limit"),
        ({"HOST_VOLUME": "/v", "IMAGE_TAG": "a b"}, "PIPELINE_IMAGE_TAG is 'a b': expected the tag"),
    ],
)
def test_a_wrong_setting_of_the_host_is_named_with_what_it_has_to_be(monkeypatch, variables, complaint):
    for name in HostSettings.model_fields:
        monkeypatch.delenv(f"PIPELINE_{name.upper()}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"PIPELINE_{name}", value)
    with pytest.raises(SetupError) as refused:
        read_host_settings()
    assert complaint in str(refused.value)


def test_an_empty_setting_of_the_host_is_its_default(monkeypatch):
    monkeypatch.setenv("PIPELINE_HOST_VOLUME", "/v")
    for name in ("IMAGE_TAG", "STAGE_USER", "STAGE_MEMORY", "STAGE_CPUS", "STAGE_PIDS"):
        monkeypatch.setenv(f"PIPELINE_{name}", "")
    found = read_host_settings()
    assert (found.image_tag, found.stage_user, found.stage_memory, found.stage_cpus) == ("latest", "50000:0", "4g", 2.0)
