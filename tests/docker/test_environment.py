"""What `make up` does before it starts anything: secrets, and a volume that the containers can write to."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.commands import REPOSITORY
from tests.docker.stack import free_port

SECRETS = ("AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET")


def prepare(folder: Path, **variables: str) -> dict[str, str]:
    environment = {"COMPOSE_PROJECT_NAME": "no-such-stack", "DOCKER_HOST": "", "AIRFLOW_PORT": free_port(), **variables}
    command = [sys.executable, str(REPOSITORY / "docker/environment.py"), str(folder / ".env"), str(folder / "shared_volume")]
    subprocess.run(command, check=True, env=os.environ | environment)
    lines = (folder / ".env").read_text().splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines if not line.startswith("#"))}


def test_the_secrets_are_for_the_one_who_called_alone(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_no_two_checkouts_have_a_secret_in_common(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = prepare(tmp_path / "one"), prepare(tmp_path / "two")
    for name in SECRETS:
        assert len(one[name]) >= 16
        assert one[name] != two[name]


def test_the_secrets_stay_and_what_belongs_to_the_machine_is_looked_up_anew(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = prepare(tmp_path / "before", AIRFLOW_ADDRESS="https://airflow.bank.test")
    (tmp_path / "before").rename(tmp_path / "after moving")
    after = prepare(tmp_path / "after moving", AIRFLOW_PORT="")
    assert {name: after[name] for name in SECRETS} == {name: before[name] for name in SECRETS}
    assert after["AIRFLOW_PORT"] == before["AIRFLOW_PORT"]
    assert after["AIRFLOW_ADDRESS"] == "https://airflow.bank.test"
    assert after["SEGMENTATION_HOST_VOLUME"] == str(tmp_path / "after moving" / "shared_volume")


def test_every_variable_that_compose_insists_on_is_written(tmp_path: Path) -> None:
    known = prepare(tmp_path)
    for line in (REPOSITORY / "compose.yaml").read_text().splitlines():
        if ":?" in line:
            assert line.split("${")[1].split(":?")[0] in known, line


def test_the_stages_never_run_as_root_and_may_write_where_they_publish(tmp_path: Path) -> None:
    user, group = prepare(tmp_path)["SEGMENTATION_STAGE_USER"].split(":")
    assert user == str(os.getuid() or 50000)
    assert group == "0"
    for name in ("runs", "model"):
        folder = (tmp_path / "shared_volume" / name).stat()
        assert folder.st_mode & 0o7777 == 0o2775
        assert str(folder.st_uid) == user or folder.st_gid == 0


def certificates(folder: Path) -> str:
    folder.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).touch()
    return str(folder)


def test_an_engine_on_this_machine_is_reached_by_its_socket(tmp_path: Path) -> None:
    known = prepare(tmp_path, DOCKER_HOST="unix:///run/user/1000/docker.sock")
    assert (known["DOCKER_SOCKET"], known["SCHEDULER_DOCKER_HOST"]) == ("/run/user/1000/docker.sock", "")


def test_the_stages_can_have_an_engine_elsewhere_and_the_scheduler_no_socket_then(tmp_path: Path) -> None:
    folder = certificates(tmp_path / "certificates")
    prepare(tmp_path, STAGE_DOCKER_HOST="tcp://engine:2376", STAGE_DOCKER_CERT_PATH=folder)
    kept = prepare(tmp_path)  # a `make up` that does not name it again
    assert (kept["DOCKER_SOCKET"], kept["SCHEDULER_DOCKER_HOST"]) == ("/dev/null", "tcp://engine:2376")
    assert kept["STAGE_DOCKER_CERT_PATH"] == folder
    back = prepare(tmp_path, STAGE_DOCKER_HOST="", STAGE_DOCKER_CERT_PATH="")
    assert (back["DOCKER_SOCKET"], back["SCHEDULER_DOCKER_HOST"]) == ("/var/run/docker.sock", "")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (
            {"STAGE_DOCKER_HOST": "tcp://engine:2375"},
            "STAGE_DOCKER_CERT_PATH is '': expected the folder of ca.pem, cert.pem, key",
        ),
        ({"STAGE_DOCKER_HOST": "ssh://engine"}, "the engine is ssh://engine: expected unix://, or STAGE_DOCKER_HOST=tcp://"),
        (
            {"DOCKER_HOST": "tcp://engine:2376"},
            "the engine is tcp://engine:2376: expected unix://, or STAGE_DOCKER_HOST=tcp://",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_safely_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], variables: dict[str, str], complaint: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        prepare(tmp_path, **variables)
    assert complaint in capfd.readouterr().err
    assert not (tmp_path / ".env").exists()


@pytest.mark.needs_docker
def test_secrets_that_a_database_still_needs_are_not_drawn_anew(docker_engine: None, tmp_path: Path) -> None:
    volume = f"no-such-stack-{os.getpid()}_database"
    subprocess.run(["docker", "volume", "create", volume], check=True, capture_output=True)
    try:
        with pytest.raises(subprocess.CalledProcessError):
            prepare(tmp_path, COMPOSE_PROJECT_NAME=volume.removesuffix("_database"))
    finally:
        subprocess.run(["docker", "volume", "rm", volume], check=True, capture_output=True)
    assert not (tmp_path / ".env").exists()


@pytest.mark.needs_docker
def test_compose_does_not_start_without_the_secrets(docker_engine: None) -> None:
    command = ["docker", "compose", "--env-file=/dev/null", "config"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "make up" in ended.stderr


def test_a_port_that_another_program_has_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(subprocess.CalledProcessError):
            prepare(tmp_path, AIRFLOW_PORT=port)
    assert not (tmp_path / ".env").exists()
    assert prepare(tmp_path, AIRFLOW_PORT=port)["AIRFLOW_PORT"] == port
