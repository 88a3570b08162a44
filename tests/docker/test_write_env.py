"""What `make up` does before it starts anything: secrets, and a volume that the containers can write to."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.docker.commands import REPOSITORY, docker
from tests.docker.stack import free_port

SECRETS = ("AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET")


def run(folder: Path, requested: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a checkout, as `make up` or `make up VOLUME=<requested>` does."""
    environment = {
        "PIPELINE": "customer-segmentation",
        "COMPOSE_PROJECT_NAME": "no-such-stack",
        "DOCKER_HOST": "",
        "AIRFLOW_PORT": free_port(),
        **variables,
    }
    command = [sys.executable, str(REPOSITORY / "docker/write_env.py"), ".env", "shared_volume", requested]
    (folder / "shared_volume").mkdir(exist_ok=True)
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def prepare(folder: Path, requested: str = "", **variables: str) -> dict[str, str]:
    """Run the script and return what it has written to .env."""
    ended = run(folder, requested, **variables)
    assert ended.returncode == 0, ended.stderr
    return written(folder)


def refused(folder: Path, requested: str = "", **variables: str) -> str:
    """Run the script, which must fail; returns why."""
    ended = run(folder, requested, **variables)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stderr


def written(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines if not line.startswith("#"))}


def test_the_secrets_are_for_the_one_who_called_alone(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_metrics_lineage_and_idle_cost_stay_as_they_were_set(tmp_path: Path) -> None:
    assert "METRICS_OTEL_ON" not in prepare(tmp_path)
    with (tmp_path / ".env").open("a") as file:
        file.write("METRICS_OTEL_ON='true'\n")
    transport = '{"type": "http", "url": "https://lineage.bank.test"}'
    prepare(tmp_path, OPENLINEAGE_TRANSPORT=transport)
    kept = prepare(tmp_path)
    assert (kept["METRICS_OTEL_ON"], kept["OPENLINEAGE_TRANSPORT"]) == ("true", transport)


def test_no_two_checkouts_have_a_secret_in_common(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = prepare(tmp_path / "one"), prepare(tmp_path / "two")
    for name in SECRETS:
        assert len(one[name]) >= 16
        assert one[name] != two[name]


def test_the_secrets_are_kept_and_values_of_the_machine_are_updated(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = prepare(tmp_path / "before", AIRFLOW_ADDRESS="https://airflow.bank.test")
    (tmp_path / "before").rename(tmp_path / "after moving")
    after = prepare(tmp_path / "after moving", AIRFLOW_PORT="")
    assert {name: after[name] for name in SECRETS} == {name: before[name] for name in SECRETS}
    assert after["AIRFLOW_PORT"] == before["AIRFLOW_PORT"]
    assert after["AIRFLOW_ADDRESS"] == "https://airflow.bank.test"
    assert after["PIPELINE_HOST_VOLUME"] == str(tmp_path / "after moving" / "shared_volume")


def test_every_variable_that_compose_insists_on_is_written(tmp_path: Path) -> None:
    known = prepare(tmp_path)
    for line in (REPOSITORY / "compose.yaml").read_text().splitlines():
        if ":?" in line:
            assert line.split("${")[1].split(":?")[0] in known, line


def test_the_stages_never_run_as_root_and_may_write_where_they_publish(tmp_path: Path) -> None:
    user, group = prepare(tmp_path)["PIPELINE_STAGE_USER"].split(":")
    assert user == str(os.getuid() or 50000)
    assert group == "0"
    for name in ("runs", "model", "history"):
        folder = (tmp_path / "shared_volume" / name).stat()
        assert folder.st_mode & 0o7777 == 0o2770
        assert str(folder.st_uid) == user or folder.st_gid == 0


def test_the_names_of_an_earlier_version_are_read_and_replaced(tmp_path: Path) -> None:
    prepare(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    former = f"POSTGRES_PASSWORD='kept'\nSEGMENTATION_HOST_VOLUME='{other}'\n"  # pragma: allowlist secret
    (tmp_path / ".env").write_text(former)
    settings = prepare(tmp_path)
    assert (settings["POSTGRES_PASSWORD"], settings["PIPELINE_HOST_VOLUME"]) == ("kept", str(other))
    assert not [name for name in settings if name.startswith("SEGMENTATION_")]


# --- which volume


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A volume outside of the checkout."""
    folder = tmp_path / "data of the bank"
    folder.mkdir()
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


def test_the_volume_is_kept_until_another_one_is_named(checkout: Path, bank: Path) -> None:
    assert prepare(checkout)["PIPELINE_HOST_VOLUME"] == str(checkout / "shared_volume")
    assert prepare(checkout, str(bank), CHANGE_VOLUME="yes")["PIPELINE_HOST_VOLUME"] == str(bank)
    assert prepare(checkout)["PIPELINE_HOST_VOLUME"] == str(bank)
    assert prepare(checkout, str(bank))["PIPELINE_HOST_VOLUME"] == str(bank)


def test_another_volume_is_refused_with_both_paths_unless_the_change_is_confirmed(checkout: Path, bank: Path) -> None:
    prepare(checkout, str(bank))
    before = (checkout / ".env").read_text()
    for word in ("", "no", "1"):
        complaint = refused(checkout, "shared_volume", CHANGE_VOLUME=word)
        assert f"the volume is {bank}, and {checkout / 'shared_volume'} is another one" in complaint
        assert "CHANGE_VOLUME=yes" in complaint
    assert (checkout / ".env").read_text() == before
    changed = run(checkout, "shared_volume", CHANGE_VOLUME="yes")
    assert f"The volume changes from {bank} to {checkout / 'shared_volume'}." in changed.stdout
    assert written(checkout)["PIPELINE_HOST_VOLUME"] == str(checkout / "shared_volume")


def test_a_volume_that_an_earlier_version_has_written_down_is_kept(checkout: Path, bank: Path) -> None:
    prepare(checkout, str(bank))
    lines = (checkout / ".env").read_text().splitlines()
    (checkout / ".env").write_text("\n".join(line for line in lines if not line.startswith("VOLUME=")) + "\n")
    assert prepare(checkout)["PIPELINE_HOST_VOLUME"] == str(bank)
    assert f"the volume is {bank}" in refused(checkout, "shared_volume")


def test_a_volume_that_is_not_mounted_is_neither_replaced_nor_made(checkout: Path, bank: Path) -> None:
    prepare(checkout, str(bank))
    bank.rename(bank.with_name("elsewhere"))
    assert f"the volume {bank} is not there: mount it" in refused(checkout)
    assert not bank.exists()


def test_a_mistyped_volume_is_not_made(checkout: Path) -> None:
    assert f"the volume {checkout}/typo is not there: make the folder" in refused(checkout, "typo")
    assert not (checkout / "typo").exists()
    assert not (checkout / ".env").exists()


def test_the_same_volume_by_another_name_is_no_change(checkout: Path, bank: Path) -> None:
    prepare(checkout, str(bank))
    (checkout / "link").symlink_to(bank)
    for name in ("link", f"{bank}/", "../data of the bank", f"{bank}/../data of the bank/."):
        assert prepare(checkout, name)["PIPELINE_HOST_VOLUME"] == str(bank)


@pytest.mark.parametrize("name", ["o'clock", "a:b", "back\\slash", "two\nlines"])
def test_a_path_that_docker_or_the_file_of_secrets_cannot_take_is_refused(checkout: Path, name: str) -> None:
    (checkout / name).mkdir()
    assert "in its path" in refused(checkout, name)


def test_the_root_of_the_file_system_is_no_volume(checkout: Path) -> None:
    assert "the volume is /, expected a separate folder" in refused(checkout, "/")


def test_a_volume_without_data_is_a_warning(checkout: Path, bank: Path) -> None:
    assert f"warning: {bank} has no folder data" in run(checkout, str(bank)).stderr
    (bank / "data").mkdir()
    assert "warning" not in run(checkout).stderr


@pytest.mark.parametrize("name", ["runs", "model", "history", "scores"])
def test_a_link_in_place_of_a_folder_of_results_is_refused(checkout: Path, bank: Path, name: str) -> None:
    (checkout / "shared_volume").mkdir()
    (checkout / "shared_volume" / name).symlink_to(bank)
    assert f"{name} is a link" in refused(checkout)


@pytest.mark.needs_docker
def test_the_volume_does_not_change_under_a_stage_that_runs(docker_engine: None, checkout: Path, bank: Path) -> None:
    prepare(checkout, str(bank))
    base = os.environ.get("BASE_IMAGE", "python:3.13-slim-trixie")
    stage = docker("run", "--detach", f"--label=customer-segmentation.volume={bank}", "--entrypoint=sleep", base, "300")
    try:
        complaint = refused(checkout, "shared_volume", CHANGE_VOLUME="yes")
        assert f"1 stage(s) still run on the volume {bank}" in complaint
        assert str(checkout / "shared_volume") in complaint
        assert written(checkout)["PIPELINE_HOST_VOLUME"] == str(bank)
    finally:
        docker("rm", "--force", stage)


# --- who reads the volume


def test_results_that_an_earlier_version_wrote_for_all_to_read_are_closed_to_others(checkout: Path) -> None:
    for name in ("runs", "model", "scores"):
        (checkout / "shared_volume" / name / "demo").mkdir(parents=True)
        (checkout / "shared_volume" / name).chmod(0o2775)
    prepare(checkout)
    for name in ("runs", "model", "scores"):
        assert (checkout / "shared_volume" / name).stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("table", ["file.csv", "file.csv.gz", "file.parquet"])
@pytest.mark.parametrize(
    ("of_folder", "of_file", "warns"), [(0o755, 0o644, True), (0o750, 0o644, False), (0o755, 0o640, False)]
)
def test_customers_that_every_user_of_the_machine_can_read_are_a_warning(
    table: str, of_folder: int, of_file: int, warns: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:  # the folders of pytest are closed to others
        checkout = Path(name)
        checkout.chmod(0o755)
        file = checkout / "shared_volume/data" / table
        file.parent.mkdir(parents=True)
        (checkout / "shared_volume").chmod(0o755)
        file.write_text("CUST_ID\n")
        file.chmod(of_file)
        file.parent.chmod(of_folder)
        ended = run(checkout)
        assert ended.returncode == 0
        assert (f"warning: {file} is readable by every user" in ended.stderr) is warns
        assert file.stat().st_mode & 0o777 == of_file, "data/ stays as the user has set it"


# --- which engine


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
def test_an_engine_that_cannot_be_used_safely_is_refused(tmp_path: Path, variables: dict[str, str], complaint: str) -> None:
    assert complaint in refused(tmp_path, **variables)
    assert not (tmp_path / ".env").exists()


@pytest.mark.needs_docker
def test_secrets_that_a_database_still_needs_are_not_replaced(docker_engine: None, tmp_path: Path) -> None:
    volume = f"no-such-stack-{os.getpid()}_database"
    subprocess.run(["docker", "volume", "create", volume], check=True, capture_output=True)
    try:
        assert "the database made with its secrets" in refused(tmp_path, COMPOSE_PROJECT_NAME=volume.removesuffix("_database"))
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
        assert f"port {port} is in use by another program" in refused(tmp_path, AIRFLOW_PORT=port)
    assert not (tmp_path / ".env").exists()
    assert prepare(tmp_path, AIRFLOW_PORT=port)["AIRFLOW_PORT"] == port


@pytest.mark.parametrize("port", ["abc", "0", "-1", "65536", "80 80", "\u0661"])
def test_what_is_no_port_is_refused_in_one_line(tmp_path: Path, port: str) -> None:
    assert refused(tmp_path, AIRFLOW_PORT=port) == f"AIRFLOW_PORT is {port!r}, expected a number from 1 to 65535\n"


@pytest.mark.needs_docker
def test_another_stack_on_the_same_volume_is_a_warning(docker_engine: None, checkout: Path, bank: Path) -> None:
    base = os.environ.get("BASE_IMAGE", "python:3.13-slim-trixie")
    labels = "--label=com.docker.compose.project=the-other-stack"
    mount = f"--mount=type=bind,source={bank},target=/shared"
    other = docker("run", "--detach", labels, mount, "--entrypoint=sleep", base, "300")
    try:
        warning = f"warning: the stack the-other-stack uses the volume {bank} too"
        assert warning in run(checkout, str(bank)).stderr
        assert warning not in run(checkout, str(bank), COMPOSE_PROJECT_NAME="the-other-stack").stderr
    finally:
        docker("rm", "--force", other)
