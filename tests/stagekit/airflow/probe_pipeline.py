"""A pipeline with a stage of every kind, for the tests of the Airflow part."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from stagekit.pipeline import Pipeline, Stage
from stagekit.serialization import parse_integers
from stagekit.settings import ColumnNames, PartitionedStageSettings, StageSettings
from stagekit.volume.artifact import Artifact
from stagekit.volume.formats import JSON

FEATURES = Artifact("transform", "features.json", JSON, columns="feature_columns")
SEGMENTS = Artifact("segment", "segments.json", JSON)


class TransformSettings(PartitionedStageSettings):
    feature_columns: ColumnNames = Field(("BALANCE", "PURCHASES"), min_length=1, title="Columns", description="Some columns.")
    log_columns: ColumnNames = Field((), title="Logarithm of", description="Columns, or none.")
    outliers: Literal["keep", "clip"] = Field("keep", title="Outliers", description="What to do with them.")


class TrainSettings(PartitionedStageSettings):
    k_values: Annotated[tuple[Annotated[int, Field(ge=2, le=100)], ...], NoDecode, BeforeValidator(parse_integers)] = Field(
        tuple(range(2, 11)), min_length=1, title="Values of k", description="Some integers."
    )
    n_init: int = Field(10, ge=1, title="Initialisations", description="How many.")


class SegmentSettings(StageSettings):
    n_clusters: int | None = Field(None, ge=2, title="Number of segments", description="Optional.")
    publish: Literal["if-passed", "never", "always"] = Field("if-passed", title="Publish", description="When.")


class ProbeSettings(TransformSettings, TrainSettings, SegmentSettings):
    @model_validator(mode="after")
    def _require_fitted(self) -> Self:
        if self.n_clusters is not None and self.n_clusters not in self.k_values:
            raise ValueError(f"n_clusters is {self.n_clusters}, expected one of k_values")
        return self


PIPELINE = Pipeline(
    name="probe-pipeline",
    stages=(
        Stage("extract"),
        Stage("transform", TransformSettings, writes=(FEATURES,)),
        Stage("train", TrainSettings, reads=(FEATURES,)),
        Stage("segment", SegmentSettings, reads=(FEATURES,), writes=(SEGMENTS,), publishes=(SEGMENTS,)),
    ),
    others=(Stage("changes", reads=(SEGMENTS,)),),
    settings=ProbeSettings,
)
