"""Write the file of secrets that compose.yaml reads, and make the volume ready for the containers.

    python3 docker/environment.py .env shared_volume

Secrets are drawn at first use and kept. What belongs to the machine (the user, the group of the Docker socket, where
the volume lies) is looked up anew each time, so that a checkout can move.
"""

import base64
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HEADER = """\
# Written by `make up`, readable by you alone. Sign in to Airflow as admin with AIRFLOW_ADMIN_PASSWORD.
# The secrets are the ones that the database was made with: a lost file means `make clean` and a new start.
"""
SECRETS: dict[str, Callable[[], str]] = {
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(24),  # part of a URL: nothing that needs escaping
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(64),
}

CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")  # the names that Docker's own client expects


def read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def write(path: Path, values: dict[str, str]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(HEADER + "".join(f"{name}='{value}'\n" for name, value in values.items()))
    temporary.replace(path)


def machine(volume: Path) -> dict[str, str]:
    # Root is not needed for anything inside the containers.
    user = os.getuid() or 50000
    return {
        "SEGMENTATION_HOST_VOLUME": str(volume.resolve()),
        # The stages write as the user who called, so that the results belong to them; group 0 as in Airflow's own image.
        "SEGMENTATION_STAGE_USER": f"{user}:0",
    }


def engine(host: str, certificates: str) -> dict[str, str]:
    """Name the engine that the stages run on: the one that Airflow runs on itself, or another one.

    One on this machine is reached by its socket, which the scheduler gets; one elsewhere by TLS.
    """
    address = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if address.startswith("unix://"):
        path = Path(address.removeprefix("unix://"))
        # On Docker Desktop the socket has another group inside the virtual machine: 0, which the container has anyway.
        group = path.stat().st_gid if path.is_socket() else 0
        elsewhere = {"SCHEDULER_DOCKER_HOST": "", "DOCKER_SOCKET": str(path), "DOCKER_GID": str(group)}
    elif not host.startswith("tcp://"):
        sys.exit(
            f"the engine is {address}: expected unix://, or STAGE_DOCKER_HOST=tcp://... for an engine elsewhere that runs the "
            "stages; Airflow itself runs on this machine's"
        )
    elif not all((Path(certificates) / name).is_file() for name in CERTIFICATES):
        sys.exit(
            f"STAGE_DOCKER_CERT_PATH is {certificates!r}: expected the folder of {', '.join(CERTIFICATES)}; "
            "an engine that asks for no certificate makes everybody who reaches it root"
        )
    else:
        certificates = str(Path(certificates).resolve())
        elsewhere = {"SCHEDULER_DOCKER_HOST": host, "DOCKER_SOCKET": "/dev/null", "DOCKER_GID": "0"}
    return {"STAGE_DOCKER_HOST": host, "STAGE_DOCKER_CERT_PATH": certificates, **elsewhere}


def prepare(volume: Path) -> None:
    """Make the folders that the stages write to: theirs by user or by group, and so is whatever is made in them."""
    for folder in (volume / "runs", volume / "model"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                os.chown(folder, -1, 0)
            folder.chmod(0o2775)
        except PermissionError:
            sys.exit(f"{folder} belongs to another user, so the stages could not write to it: hand it over with chown")


def database_outlived(path: Path) -> bool:
    """Tell whether a database is there that was made with secrets that are not."""
    name = f"{os.environ['COMPOSE_PROJECT_NAME']}_database"
    return not path.exists() and not subprocess.run(["docker", "volume", "inspect", name], capture_output=True).returncode


def port_is_taken(port: str) -> bool:
    """Tell whether something else than the stack that is up listens there."""
    try:
        with socket.create_server(("127.0.0.1", int(port))):
            return False
    except OSError:
        ours = ["docker", "ps", "--quiet", f"--filter=publish={port}"]
        ours += [f"--filter=label=com.docker.compose.project={os.environ['COMPOSE_PROJECT_NAME']}"]
        return not subprocess.run(ours, capture_output=True).stdout


def main(path: Path, volume: Path) -> None:
    if database_outlived(path):
        sys.exit(f"{path} is gone, but the database made with its secrets is there: restore the file, or `make clean`")
    known = read(path)
    values = {name: known.get(name) or draw() for name, draw in SECRETS.items()}
    # A port that was chosen once stays chosen.
    values["AIRFLOW_PORT"] = os.environ.get("AIRFLOW_PORT") or known.get("AIRFLOW_PORT") or "8080"
    # The same for where people reach it, if that is not this machine: links in notifications begin with it.
    values["AIRFLOW_ADDRESS"] = os.environ.get("AIRFLOW_ADDRESS") or known.get("AIRFLOW_ADDRESS") or ""
    if port_is_taken(values["AIRFLOW_PORT"]):
        sys.exit(f"port {values['AIRFLOW_PORT']} is in use by another program: choose one, as in `make up AIRFLOW_PORT=8081`")
    # So does another engine for the stages; naming it as empty goes back to this machine's.
    host, certificates = (os.environ.get(name, known.get(name, "")) for name in ("STAGE_DOCKER_HOST", "STAGE_DOCKER_CERT_PATH"))
    write(path, values | machine(volume) | engine(host, certificates))
    prepare(volume)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
