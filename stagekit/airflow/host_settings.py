"""How stages run on this installation: environment variables of the process that runs Airflow's tasks."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stagekit.errors import SetupError
from stagekit.settings import ENVIRONMENT_PREFIX


class HostSettings(BaseSettings):
    """Where the volume is on the Docker host, and what a stage may use there."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, frozen=True)

    host_volume: str = Field(
        pattern="^/",
        description="path of shared_volume on the Docker host, which is not its path in Airflow's own container",
    )
    project: str = Field(
        default="",
        pattern=r"^[\w-]*$",
        description="name of the compose project that the stages belong to, by which `make down` finds them; empty for none",
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
        description="memory limit of one stage, without swap",
    )
    stage_cpus: float = Field(
        default=2.0, gt=0, description="hard CPU limit of one stage; at most the number of CPUs of the host is used"
    )
    dask_schedulers: str = Field(
        default="",
        description="addresses of the Dask schedulers that stages may use, comma-separated; empty for none",
    )
    cluster_network: str = Field(
        default="bridge",
        pattern=r"^\w[\w.-]*$",
        description="Docker network that a stage joins to reach its Dask scheduler; other stages have no network",
    )
    stage_pids: int = Field(default=512, ge=16, description="maximum number of processes and threads of one stage")


def read_host_settings() -> HostSettings:
    """Read the settings from the environment.

    Raises
    ------
    SetupError
        If a variable is missing or invalid; the message names it and what is expected.
    """
    try:
        return HostSettings()  # type: ignore[call-arg]
    except ValidationError as error:
        raise SetupError("; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: Any) -> str:
    name = str(item["loc"][0])
    found = "is not set" if item["type"] == "missing" else f"is {item['input']!r}"
    expected = HostSettings.model_fields[name].description
    return f"{ENVIRONMENT_PREFIX}{name.upper()} {found}: expected the {expected}"
