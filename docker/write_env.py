"""Write the .env file that compose.yaml reads, and prepare the volume for the containers.

    python3 docker/write_env.py .env shared_volume             # the volume of .env, else shared_volume
    python3 docker/write_env.py .env shared_volume /data/bank  # this volume

Secrets are drawn at first use and kept, and so are the port and the volume. What depends on the machine (the user, the group
of the Docker socket) is looked up each time. A volume that was given as a relative path moves with the checkout.
"""

import base64
import os
import re
import secrets
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HEADER = """\
# Written by `make up`, readable only by you. Sign in to Airflow as admin with AIRFLOW_ADMIN_PASSWORD.
# The database was made with these secrets: without the file, only `make clean` and a new start help.
"""
SECRETS: dict[str, Callable[[], str]] = {
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(24),  # part of a URL: nothing that needs escaping
    "AIRFLOW_FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "AIRFLOW_SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(64),
}

MIN_PASSWORD = 12
"""Minimum number of characters of a password that a person chooses."""

FORMER_PREFIX, PREFIX = "SEGMENTATION_", "PIPELINE_"
"""The prefix of the settings of stages in a file of an earlier version, which is still read, and the current one."""

KEPT = (
    "SCHEDULER_IDLE_SLEEP_TIME",
    "METRICS_OTEL_ON",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "METRICS_STATSD_ON",
    "STATSD_HOST",
    "STATSD_PORT",
    "OPENLINEAGE_TRANSPORT",
)
"""Settings of docs/operations.md that are kept once they are set, in the file or in the environment of `make up`."""

CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")  # the names that Docker's own client expects


def read(path: Path) -> dict[str, str]:
    """Read the settings in a file; an empty dict if it does not exist. Former names are replaced by the current ones."""
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    pairs = (line.partition("=") for line in lines)
    return {re.sub(f"^{FORMER_PREFIX}", PREFIX, name): value.strip("'") for name, _, value in pairs}


def write(path: Path, values: dict[str, str]) -> None:
    """Replace the file atomically, readable only for this user."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(HEADER + "".join(f"{name}='{value}'\n" for name, value in values.items()))
    temporary.replace(path)


def engine(host: str, certificates: str) -> dict[str, str]:
    """Return the settings of the engine that the stages run on: Airflow's own engine, or another one.

    A local engine is reached by its socket, which the scheduler gets, a remote one by TLS.
    """
    address = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if address.startswith("unix://"):
        path = Path(address.removeprefix("unix://"))
        # On Docker Desktop the socket has another group inside the virtual machine: 0, which the container has anyway.
        group = path.stat().st_gid if path.is_socket() else 0
        access = {"SCHEDULER_DOCKER_HOST": "", "DOCKER_SOCKET": str(path), "DOCKER_GID": str(group)}
    elif not host.startswith("tcp://"):
        sys.exit(
            f"the engine is {address}: expected unix://, or STAGE_DOCKER_HOST=tcp://... for an engine elsewhere that runs the "
            "stages; Airflow itself runs on this machine's"
        )
    elif not all((Path(certificates) / name).is_file() for name in CERTIFICATES):
        sys.exit(
            f"STAGE_DOCKER_CERT_PATH is {certificates!r}: expected the folder of {', '.join(CERTIFICATES)}; "
            "without certificates, every client that can connect to the engine is root there"
        )
    else:
        certificates = str(Path(certificates).resolve())
        access = {"SCHEDULER_DOCKER_HOST": host, "DOCKER_SOCKET": "/dev/null", "DOCKER_GID": "0"}
    return {"STAGE_DOCKER_HOST": host, "STAGE_DOCKER_CERT_PATH": certificates, **access}


def choose_volume(known: dict[str, str], default: str, requested: str, *, may_change: bool) -> tuple[str, Path]:
    """Choose between the volume of the previous `make up` and the requested one.

    Parameters
    ----------
    known : dict of str
        The settings of the previous `make up`; empty before the first one.
    default : str
        The volume of the first `make up` if none is requested.
    requested : str
        The volume that this call names, or an empty text.
    may_change : bool
        Whether `requested` may differ from the previous volume.

    Returns
    -------
    name : str
        The volume as it was named: a relative path belongs to the checkout.
    folder : Path
        The same, absolute and without links.

    Raises
    ------
    SystemExit
        If the folder is missing or unusable, or if the change was not confirmed.
    """
    # Earlier versions kept only the absolute path.
    previous = known.get("VOLUME") or known.get("PIPELINE_HOST_VOLUME", "")
    name = requested or previous or default
    folder = Path(name).resolve()
    if not folder.is_dir():
        remedy = (
            "make the folder" if requested or not previous else "mount it, or name another one: VOLUME=... CHANGE_VOLUME=yes"
        )
        sys.exit(f"the volume {folder} is not there: {remedy}")
    if folder == folder.parent:
        sys.exit(f"the volume is {folder}, expected a separate folder: name another one")
    if unusable := sorted(set(str(folder)) & set("'\\\n\r:")):
        sys.exit(f"the volume {folder} has {unusable[0]!r} in its path, which Docker or .env cannot take: rename the folder")
    before = Path(previous).resolve()
    if previous and folder != before:
        if not may_change:
            sys.exit(
                f"the volume is {before}, and {folder} is another one: leave VOLUME out to keep the first, or add "
                "CHANGE_VOLUME=yes to continue on the second; segments, models and runs stay on the volume they are on"
            )
        if running := stages_on(before, known):
            sys.exit(
                f"{len(running)} stage(s) still run on the volume {before}: wait for the run to end, or stop it with "
                f"`make down`, before you change to {folder}"
            )
        print(f"The volume changes from {before} to {folder}.")
    return name, folder


def stages_on(volume: Path, known: dict[str, str]) -> list[str]:
    """Return the ids of the stages' containers that run on a volume."""
    command = ["docker", "ps", "--quiet", f"--filter=label={os.environ['PIPELINE']}.volume={volume}"]
    environment = dict(os.environ)
    if host := os.environ.get("STAGE_DOCKER_HOST", known.get("STAGE_DOCKER_HOST")):
        environment["DOCKER_HOST"] = host
    if certificates := os.environ.get("STAGE_DOCKER_CERT_PATH", known.get("STAGE_DOCKER_CERT_PATH")):
        environment |= {"DOCKER_CERT_PATH": certificates, "DOCKER_TLS_VERIFY": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()


def prepare(volume: Path) -> None:
    """Make the folders that the stages write to, accessible to the stages' user or group and to no other user."""
    for folder in (volume / "runs", volume / "model", volume / "history", volume / "scores"):
        if folder.is_symlink():
            sys.exit(f"{folder} is a link, which Docker would not follow inside the container: put a folder there")
        try:
            folder.mkdir(exist_ok=True)
            if os.getuid() == 0:
                os.chown(folder, -1, 0)
            # This also protects files below it that an earlier version wrote as readable for all.
            folder.chmod(0o2770)
        except PermissionError:
            sys.exit(f"{folder} belongs to another user, so the stages could not write to it: hand it over with chown")
    if not (volume / "data").is_dir():
        print(f"warning: {volume} has no folder data: the customer table is expected there as data/file.csv", file=sys.stderr)
    if file := readable_by_all(volume / "data"):
        print(
            f"warning: {file} is readable by every user of this machine: if customers are in it, "
            f"`chmod -R o-rwx {shlex.quote(str(volume / 'data'))}`",
            file=sys.stderr,
        )


def readable_by_all(folder: Path) -> Path | None:
    """Return a table below `folder` that every user of the machine can read, or None."""
    if not folder.is_dir() or not all(is_open(parent, stat.S_IXOTH) for parent in (folder, *folder.parents)):
        return None
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if is_open(Path(where, name), stat.S_IXOTH)]
        for path in (Path(where, name) for name in sorted(names) if re.search(r"\.(csv|parquet)", name)):
            if path.is_file() and is_open(path, stat.S_IROTH):
                return path
    return None


def is_open(path: Path, to_others: int) -> bool:
    """Return whether other users have one of these permissions."""
    return bool(path.stat().st_mode & to_others)


def require_secrets(path: Path) -> None:
    """Exit if there is a database, but not the file with its secrets."""
    name = f"{os.environ['COMPOSE_PROJECT_NAME']}_database"
    if not path.exists() and not subprocess.run(["docker", "volume", "inspect", name], capture_output=True).returncode:
        sys.exit(f"{path} is gone, but the database made with its secrets is there: restore the file, or `make clean`")


def other_stack_on(volume: Path) -> str:
    """Return the name of another stack of this engine whose containers use the volume; empty if there is none."""
    command = ["docker", "ps", f"--filter=volume={volume}", '--format={{.Label "com.docker.compose.project"}}']
    names = set(subprocess.run(command, capture_output=True, text=True).stdout.split())
    return min(names - {os.environ["COMPOSE_PROJECT_NAME"]}, default="")


def require_port(port: str) -> None:
    """Exit if the port is not a valid number, or another program than the running stack listens at it."""
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        sys.exit(f"AIRFLOW_PORT is {port!r}, expected a number from 1 to 65535")
    try:
        socket.create_server(("127.0.0.1", int(port))).close()
    except OSError:
        ours = ["docker", "ps", "--quiet", f"--filter=publish={port}"]
        ours += [f"--filter=label=com.docker.compose.project={os.environ['COMPOSE_PROJECT_NAME']}"]
        if not subprocess.run(ours, capture_output=True).stdout:
            sys.exit(f"port {port} is in use by another program: choose one, as in `make up AIRFLOW_PORT=8081`")


def main(path: Path, default: str, requested: str = "") -> None:
    """Write the file, and prepare the volume."""
    require_secrets(path)
    known = read(path)
    name, volume = choose_volume(known, default, requested, may_change=os.environ.get("CHANGE_VOLUME") == "yes")
    values = {name: known.get(name) or draw() for name, draw in SECRETS.items()}
    if len(values["AIRFLOW_ADMIN_PASSWORD"]) < MIN_PASSWORD:
        print(f"warning: AIRFLOW_ADMIN_PASSWORD in {path} has fewer than {MIN_PASSWORD} characters", file=sys.stderr)
    values |= {"PIPELINE": os.environ["PIPELINE"], "VOLUME": name, "PIPELINE_HOST_VOLUME": str(volume)}
    # A port that was chosen once is kept.
    values["AIRFLOW_PORT"] = os.environ.get("AIRFLOW_PORT") or known.get("AIRFLOW_PORT") or "8080"
    # So is the address for users on other machines: links in notifications begin with it.
    values["AIRFLOW_ADDRESS"] = os.environ.get("AIRFLOW_ADDRESS") or known.get("AIRFLOW_ADDRESS") or ""
    require_port(values["AIRFLOW_PORT"])
    values |= {name: value for name in KEPT if (value := os.environ.get(name, known.get(name, "")))}
    # So is another engine for the stages; an empty value returns to this machine's.
    host, certificates = (os.environ.get(name, known.get(name, "")) for name in ("STAGE_DOCKER_HOST", "STAGE_DOCKER_CERT_PATH"))
    # The results belong to the user who called, but no container needs root; group 0 as in Airflow's own image.
    values |= {"PIPELINE_STAGE_USER": f"{os.getuid() or 50000}:0", **engine(host, certificates)}
    prepare(volume)
    if other := other_stack_on(volume):
        print(
            f"warning: the stack {other} uses the volume {volume} too: both will start and publish every run", file=sys.stderr
        )
    write(path, values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
