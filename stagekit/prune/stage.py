"""The declaration of the stage `prune`, for the pipelines that include it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from stagekit.pipeline import Stage
from stagekit.serialization import parse_list
from stagekit.settings import StageSettings


class PruneSettings(StageSettings):
    """Remove the folders of old runs from the volume; published runs and those of which a stage is at work are kept."""

    run: str = Field(default="", max_length=250, title="Run", description="Not used: this works on all runs.")
    keep_runs: int = Field(
        default=10,
        ge=1,
        title="Runs to keep",
        description="How many runs to keep, the latest first.",
    )
    keep: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = Field(
        default=(),
        title="Folders to keep",
        description="Folders in runs/ to keep however old they are, comma-separated; Airflow names those in progress.",
    )
    warn_share: float = Field(
        default=0.85,
        gt=0,
        le=1,
        title="Warn above",
        description="Share of the volume in use above which a warning is raised.",
    )
    dry_run: bool = Field(
        default=False,
        title="Dry run",
        description="List what would be removed, and remove nothing.",
    )


PRUNE = Stage("prune", PruneSettings, folder="", module="stagekit.prune.main")
