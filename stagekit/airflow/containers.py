"""The definition of a stage's container: what it may use, see and change, and the same as a `docker run` command."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from docker.types import Mount

from stagekit.airflow.host_settings import HostSettings
from stagekit.errors import UsageError
from stagekit.pipeline import Stage
from stagekit.serialization import to_text
from stagekit.settings import ENVIRONMENT_PREFIX

VOLUME = "/shared"  # where the images expect it
TMPFS = {"/tmp": "size=64m"}  # noqa: S108 - the only writable place outside the volume; counts as memory


@dataclass(frozen=True)
class StageCall:
    """What a stage is to do in one container."""

    stage: Stage
    run: str
    settings: Mapping[str, Any]
    """By name; those that are not named keep their default."""
    sources: Mapping[str, str]
    """Where each of the settings comes from, such as `form`."""
    writable: tuple[str, ...]
    """Folders of the volume; the rest of it is read-only. The first one is the stage's own."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """The digest of the manifest of each upstream stage."""

    @property
    def uses_dask(self) -> bool:
        """Whether a setting names a Dask scheduler."""
        return "dask_scheduler" in self.settings


@dataclass(frozen=True)
class StageContainer:
    """One stage of one run, as a container."""

    image: str
    command: list[str]
    environment: dict[str, str]
    writable: tuple[str, ...]
    host: HostSettings
    network: str = "none"
    entrypoint: tuple[str, ...] = ()

    @property
    def mounts(self) -> list[Mount]:
        """The volume, read-only, and the folders that the stage may write to."""
        return [
            Mount(VOLUME, self.host.host_volume, type="bind", read_only=True),
            *(Mount(f"{VOLUME}/{path}", f"{self.host.host_volume}/{path}", type="bind") for path in self.writable),
        ]

    @property
    def hardening(self) -> dict[str, Any]:
        """Arguments of docker's create_host_config that DockerOperator does not have."""
        return {
            "read_only": True,
            "tmpfs": TMPFS,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # without it, Python is process 1 and ignores SIGTERM
            "pids_limit": self.host.stage_pids,
            "nano_cpus": round(self.host.stage_cpus * 1e9),  # DockerOperator's `cpus` is only a relative weight
            "memswap_limit": self.host.stage_memory,  # memory and swap together: no swap
        }

    @property
    def digest(self) -> str:
        """Identify everything that decides what the container does: containers with the same digest are interchangeable.

        The image's id and the digests of the upstream stages are included, as environment variables.
        """
        parts = (self.image, self.entrypoint, self.command, self.environment, self.mounts, self.network)
        limits = (self.host.stage_user, self.host.stage_memory, self.hardening)
        return hashlib.sha256(json.dumps([parts, limits], sort_keys=True).encode()).hexdigest()

    @property
    def docker_run(self) -> str:
        """The command that starts the same container by hand."""
        parts = ["docker", "run", "--rm", "--init", f"--network={self.network}", "--read-only", "--cap-drop=ALL"]
        parts += ["--security-opt=no-new-privileges"]
        parts += [f"--tmpfs={path}:{options}" for path, options in TMPFS.items()]
        parts += [f"--pids-limit={self.host.stage_pids}", f"--cpus={self.host.stage_cpus:g}"]
        parts += [f"--memory={self.host.stage_memory}", f"--memory-swap={self.host.stage_memory}"]
        parts += [f"--user={self.host.stage_user}"]
        parts += [f"--mount={_to_option(mount)}" for mount in self.mounts]
        parts += [f"--env={name}={value}" for name, value in self.environment.items()]
        program, *arguments = self.entrypoint or ("",)
        parts += [f"--entrypoint={program}"] if program else []
        return shlex.join([*parts, self.image, *arguments, *self.command])


def name_image(call: StageCall, host: HostSettings, pipeline: str) -> str:
    """Return the name of the image to run.

    Raises
    ------
    UsageError
        If the call names a Dask scheduler that the installation does not allow. A Dask scheduler can execute arbitrary code
        in the stage, so its address must be allowed by the deployment, not chosen in the form.
    """
    if call.uses_dask and call.settings["dask_scheduler"] not in host.dask_schedulers.split(","):
        raise UsageError(
            f"dask_scheduler {call.settings['dask_scheduler']} is not allowed; allowed: {host.dask_schedulers or 'none'} "
            f"(set {ENVIRONMENT_PREFIX}DASK_SCHEDULERS on the Airflow scheduler)"
        )
    return f"{pipeline}/{'cluster' if call.uses_dask else call.stage.image}:{host.image_tag}"


def define_container(
    call: StageCall, host: HostSettings, image: str, image_id: str, environment: Mapping[str, str]
) -> StageContainer:
    """Compute the container that a stage runs in.

    Parameters
    ----------
    call : StageCall
    host : HostSettings
        With `stage_cpus` not above the number of CPUs of the engine, which refuses more.
    image, image_id : str
        Name and id of the image.
    environment : mapping of str to str
        Of the Airflow process: a stage on a cluster gets its DASK_ variables, which name the certificates.
    """
    variables = {name.upper(): to_text(value) for name, value in call.settings.items()}
    variables["SOURCES"] = ",".join(f"{name}={source}" for name, source in call.sources.items())
    variables["UPSTREAM"] = to_text(call.upstream)
    variables["IMAGE"] = f"{image} {image_id}"
    of_stage = {ENVIRONMENT_PREFIX + name: value for name, value in variables.items() if value}
    # A limit on CPU time does not limit threads: libraries would count the host's CPUs, and their threads would wait.
    of_stage["OMP_NUM_THREADS"] = str(max(1, int(host.stage_cpus)))
    if call.uses_dask:
        of_stage |= {name: value for name, value in environment.items() if name.startswith("DASK_") and value}
    return StageContainer(
        image=image,
        command=[f"--run={call.run}"],
        environment=of_stage,
        writable=call.writable,
        host=host,
        network=host.cluster_network if call.uses_dask else "none",
        entrypoint=("python3", "-m", f"services.{call.stage.name}") if call.uses_dask else (),
    )


def _to_option(mount: Mount) -> str:
    """Write a mount as `docker run` takes it: one line of CSV."""
    fields = ["type=bind", f"source={mount['Source']}", f"target={mount['Target']}"]
    fields += ["readonly"] if mount["ReadOnly"] else []
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"\n\r') else field for field in fields)
