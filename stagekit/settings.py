"""Settings that every stage has, and the types that the settings of a stage are made of.

Each field of a settings model is a flag (`--k-values`), an environment variable (`PIPELINE_K_VALUES`), a line of
`--help` and a field of Airflow's trigger form. Its description, default and bounds are defined in the model and nowhere else.
`stagekit/stage/command_line.py` reads flags and environment, `stagekit/serialization.py` converts values to text and back, and
`stagekit/airflow/trigger_form.py` builds the form.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stagekit.serialization import VOLUME_PATH, parse_list, parse_mapping

ENVIRONMENT_PREFIX = "PIPELINE_"
MAX_NAME_BYTES = 255  # limit of ext4, XFS and NTFS for a file name
MAX_PATH_BYTES = 1024  # with the volume's own path well below the 4,096 of Linux


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a column twice")
    return values


def _inside_volume(path: str) -> str:
    if not re.search(VOLUME_PATH, path):
        raise ValueError("must be a path inside the volume like data/file.csv, without '..'")
    try:
        names = path.encode().split(b"/")
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    length, longest = sum(map(len, names)) + len(names) - 1, max(map(len, names))
    if length > MAX_PATH_BYTES:
        raise ValueError(f"must be a path of at most {MAX_PATH_BYTES:,} bytes, has {length:,}")
    if longest > MAX_NAME_BYTES:
        raise ValueError(f"must consist of names of at most {MAX_NAME_BYTES} bytes, one has {longest:,}")
    return path


# Not $, which in Python also matches before a final line end.
_ADDRESS = r"^((tcp|tls)://[A-Za-z0-9._-]+:[0-9]{1,5})?(?![\s\S])"


def _address(text: str) -> str:
    if not re.search(_ADDRESS, text):
        raise ValueError("must be an address like tcp://dask-scheduler:8786, or empty")
    return text


ColumnName = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]  # an environment variable cannot hold a NUL
# What a validator checks is repeated in the JSON schema, for clients that validate with the schema.
ColumnNames = Annotated[
    tuple[ColumnName, ...],
    NoDecode,
    BeforeValidator(parse_list),
    AfterValidator(_distinct),
    Field(json_schema_extra={"uniqueItems": True}),
]
VolumePath = Annotated[
    str, AfterValidator(_inside_volume), Field(json_schema_extra={"pattern": VOLUME_PATH, "maxLength": MAX_PATH_BYTES})
]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class StageSettings(BaseSettings):
    """Settings of every stage."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        frozen=True,
    )

    volume: Path = Field(
        default=Path("shared_volume"),
        title="Volume",
        description="Folder that holds data/, runs/ and model/.",
    )
    run: str = Field(
        min_length=1,
        max_length=250,
        title="Run",
        description="Name of the run: Airflow's run id, or any other name.",
    )
    upstream: Annotated[dict[str, Sha256], NoDecode, BeforeValidator(parse_mapping)] = Field(
        default={},
        title="Upstream manifests",
        description="stage=sha256 of upstream manifests, comma-separated. The manifest of a stage that is named here is "
        "accepted only if it has this digest; Airflow sets this.",
    )


class PartitionedStageSettings(StageSettings):
    """Settings of stages that process an artifact part by part."""

    dask_scheduler: Annotated[str, AfterValidator(_address), Field(json_schema_extra={"pattern": _ADDRESS})] = Field(
        default="",
        title="Dask scheduler",
        description="Address of a Dask scheduler like tcp://dask-scheduler:8786. Its workers process the parts; they need the "
        "same image and the same volume. Leave empty to run without a cluster.",
    )
