"""The container that a stage runs in: what it may use, see and change, and the same as a `docker run` line for people."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from typing import Any

from docker.types import Mount
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stagekit.errors import SetupError
from stagekit.settings import ENVIRONMENT_PREFIX

VOLUME = "/shared"  # where the images expect it
TMPFS = {"/tmp": "size=64m"}  # noqa: S108 - the only writable place outside the volume; counts as memory


class HostSettings(BaseSettings):
    """How stages run on this installation: environment variables of the process that runs Airflow's tasks."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, frozen=True)

    host_volume: str = Field(
        pattern="^/",
        description="path of shared_volume on the Docker host, which is not its path in Airflow's own container",
    )
    project: str = Field(
        default="",
        pattern=r"^[\w-]*$",
        description="name of the compose project that the stages belong to, which `make down` stops them by; empty for none",
    )
    image_tag: str = Field(default="latest", pattern=r"^\w[\w.-]{0,127}$", description="tag of the stage images")
    stage_user: str = Field(
        default="50000:0",
        pattern=r"^\d+:\d+$",
        description="uid:gid that stages run as, and that their files on the volume belong to",
    )
    stage_memory: str = Field(
        default="4g",
        pattern="^[1-9][0-9]*[bkmgBKMG]?$",
        description="memory limit of one stage; there is no swap beyond it",
    )
    stage_cpus: float = Field(default=2.0, gt=0, description="hard CPU limit of one stage; fewer where the host has fewer")
    dask_schedulers: str = Field(
        default="",
        description="addresses of the Dask schedulers that stages may be told to use, comma-separated; empty for none",
    )
    cluster_network: str = Field(
        default="bridge",
        pattern=r"^\w[\w.-]*$",
        description="Docker network that a stage joins to reach its Dask scheduler; stages without one have no network",
    )
    stage_pids: int = Field(default=512, ge=16, description="most processes and threads of one stage")


def host_settings() -> HostSettings:
    """Read them from the environment; raises SetupError that names the variable and what it has to be."""
    try:
        return HostSettings()  # type: ignore[call-arg]
    except ValidationError as error:
        raise SetupError("; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: Any) -> str:
    name = str(item["loc"][0])
    found = "is not set" if item["type"] == "missing" else f"is {item['input']!r}"
    wanted = HostSettings.model_fields[name].description
    return f"{ENVIRONMENT_PREFIX}{name.upper()} {found}: expected the {wanted}"


@dataclass(frozen=True)
class StageContainer:
    """One stage of one run, as a container."""

    image: str
    command: list[str]
    environment: dict[str, str]
    writable: tuple[str, ...]  # folders inside the volume, which is read-only otherwise
    host: HostSettings
    network: str = "none"
    entrypoint: tuple[str, ...] = ()

    @property
    def mounts(self) -> list[Mount]:
        return [
            Mount(VOLUME, self.host.host_volume, type="bind", read_only=True),
            *(Mount(f"{VOLUME}/{path}", f"{self.host.host_volume}/{path}", type="bind") for path in self.writable),
        ]

    @property
    def hardening(self) -> dict[str, Any]:
        """What docker's create_host_config takes and DockerOperator has no argument for."""
        return {
            "read_only": True,
            "tmpfs": TMPFS,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # without it, Python is process 1 and deaf to SIGTERM
            "pids_limit": self.host.stage_pids,
            "nano_cpus": round(self.host.stage_cpus * 1e9),  # DockerOperator's `cpus` is only a relative weight
            "memswap_limit": self.host.stage_memory,  # memory and swap together: no swap
        }

    @property
    def digest(self) -> str:
        """Identify all that decides what the container does: two containers with one digest are interchangeable.

        The image's id and the digests of the upstream stages are part of it, as variables of the environment.
        """
        parts = (self.image, self.entrypoint, self.command, self.environment, self.mounts, self.network)
        limits = (self.host.stage_user, self.host.stage_memory, self.hardening)
        return hashlib.sha256(json.dumps([parts, limits], sort_keys=True).encode()).hexdigest()

    @property
    def docker_run(self) -> str:
        """The same container started by hand."""
        parts = ["docker", "run", "--rm", "--init", f"--network={self.network}", "--read-only", "--cap-drop=ALL"]
        parts += ["--security-opt=no-new-privileges"]
        parts += [f"--tmpfs={path}:{options}" for path, options in TMPFS.items()]
        parts += [f"--pids-limit={self.host.stage_pids}", f"--cpus={self.host.stage_cpus:g}"]
        parts += [f"--memory={self.host.stage_memory}", f"--memory-swap={self.host.stage_memory}"]
        parts += [f"--user={self.host.stage_user}"]
        parts += [f"--mount={_as_option(mount)}" for mount in self.mounts]
        parts += [f"--env={name}={value}" for name, value in self.environment.items()]
        program, *arguments = self.entrypoint or ("",)
        parts += [f"--entrypoint={program}"] if program else []
        return shlex.join([*parts, self.image, *arguments, *self.command])


def _as_option(mount: Mount) -> str:
    """Write a mount as `docker run` takes it: one line of CSV."""
    fields = ["type=bind", f"source={mount['Source']}", f"target={mount['Target']}"]
    fields += ["readonly"] if mount["ReadOnly"] else []
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"\n\r') else field for field in fields)
