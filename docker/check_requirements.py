"""Check, before anything is built, that this machine's Docker engine can run the stack: one line with the remedy if not.

python3 docker/check_requirements.py .env
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from write_env import read, require_port, require_secrets  # the file beside this one

GIB = 2**30
MIN_MEMORY_GIB = 2.5
"""Airflow and its database take 1.2 GiB; the rest is for one stage on the sample data."""
RESERVED_GIB = 1.2


class Tool(NamedTuple):
    """A part of Docker, with the oldest version that suffices."""

    name: str
    command: tuple[str, ...]
    minimum: tuple[int, int]
    remedy: str


TOOLS = (
    Tool("Docker engine", ("docker", "version", "--format", "{{.Server.Version}}"), (20, 10), "install a newer Docker Engine"),
    Tool("docker compose", ("docker", "compose", "version", "--short"), (2, 20), "install a newer compose plugin"),
    # `matrix` in docker-bake.hcl needs this one.
    Tool("docker buildx", ("docker", "buildx", "version"), (0, 11), "install a newer buildx plugin"),
)


def problem_with(tool: Tool, output: str | None) -> str:
    """Return the problem with a tool, from the output of its version command; empty if there is none."""
    wanted = f"{tool.minimum[0]}.{tool.minimum[1]} or newer"
    if output is None and tool.name == "Docker engine":
        return (
            "no Docker engine answers: start it (`systemctl start docker`, or Docker Desktop), or let this user use its socket"
        )
    found = re.search(r"(\d+)\.(\d+)(\.\d+)?", output or "")
    if not found:
        return f"{tool.name} is missing: expected {wanted}, {tool.remedy} (https://docs.docker.com/engine/install/)"
    if (int(found[1]), int(found[2])) < tool.minimum:
        return f"{tool.name} is {found[0]}: expected {wanted}, {tool.remedy} (https://docs.docker.com/engine/install/)"
    return ""


def problem_with_memory(n_bytes: int) -> str:
    """Return the problem if the engine has too little memory for Airflow and one stage; empty if it has enough."""
    if n_bytes >= MIN_MEMORY_GIB * GIB:
        return ""
    return (
        f"the Docker engine has {n_bytes / GIB:.1f} GiB of memory: expected at least {MIN_MEMORY_GIB} GiB; "
        "give the machine more, or Docker Desktop (Settings, Resources)"
    )


def advice_on_memory(n_bytes: int, stage_memory: str) -> str:
    """Advise on the memory limit of a stage if that and Airflow do not fit into the engine's memory; empty if they do."""
    units = {"b": 1, "k": 2**10, "m": 2**20, "g": GIB}
    number, unit = re.fullmatch(r"(\d+)([bkmg]?)", stage_memory.lower() or "4g").groups()  # type: ignore[union-attr]
    if int(number) * units[unit or "b"] + RESERVED_GIB * GIB <= n_bytes:
        return ""
    return (
        f"warning: a stage may use {stage_memory or '4g'} of memory and Airflow uses {RESERVED_GIB} GiB, but the engine has "
        f"{n_bytes / GIB:.1f} GiB: with large tables, set PIPELINE_STAGE_MEMORY lower"
    )


def ask(*command: str) -> str | None:
    """Return the output of a command; None if it fails or does not exist."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return None if ended.returncode else ended.stdout.strip()


def main(path: Path) -> None:
    """Check the requirements, and exit with the first one that is not met."""
    for tool in TOOLS:
        if problem := problem_with(tool, ask(*tool.command)):
            sys.exit(problem)
    memory = int(ask("docker", "info", "--format", "{{.MemTotal}}") or 0)
    if problem := problem_with_memory(memory):
        sys.exit(problem)
    if advice := advice_on_memory(memory, os.environ.get("PIPELINE_STAGE_MEMORY", "")):
        print(advice, file=sys.stderr)
    require_secrets(path)
    require_port(os.environ.get("AIRFLOW_PORT") or read(path).get("AIRFLOW_PORT") or "8080")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
