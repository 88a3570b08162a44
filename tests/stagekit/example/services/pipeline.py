"""The pipeline: two stages, their settings and their artifacts."""

from typing import Literal

from pydantic import Field

from stagekit.pipeline import Pipeline, Stage
from stagekit.prune.stage import PRUNE
from stagekit.settings import StageSettings, VolumePath
from stagekit.volume.artifact import Artifact
from stagekit.volume.formats import JSON

READINGS = Artifact("read", "readings.json", JSON)
MEANS = Artifact("average", "means.json", JSON)


class ReadSettings(StageSettings):
    data_file: VolumePath = Field(
        "data/readings.csv", title="Readings", description="CSV file with the columns station and celsius."
    )


class AverageSettings(StageSettings):
    unit: Literal["celsius", "fahrenheit"] = Field("celsius", title="Unit", description="Unit of the mean temperatures.")


PIPELINE = Pipeline(
    name="temperatures",
    stages=(
        Stage("read", ReadSettings, writes=(READINGS,)),
        Stage("average", AverageSettings, reads=(READINGS,), writes=(MEANS,), publishes=(MEANS,)),
    ),
    others=(PRUNE,),
)
