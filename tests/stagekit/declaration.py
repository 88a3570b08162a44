"""The second pipeline, for the tests of the kit: with two more stages, and artifacts of every format."""

from dataclasses import replace

from stagekit.pipeline import Stage
from stagekit.prune.stage import PRUNE
from stagekit.settings import StageSettings
from stagekit.volume.artifact import Artifact
from stagekit.volume.formats import JSON, TEXT, PickleFormat
from tests.stagekit.example.services.pipeline import MEANS, READINGS, AverageSettings, ReadSettings
from tests.stagekit.example.services.pipeline import PIPELINE as EXAMPLE

PICKLE = PickleFormat(allowed=frozenset({("builtins", "slice")}), libraries=("pydantic",))

NOTES = Artifact("read", "notes.json", JSON)
DATA = Artifact("read", "data.pkl", PICKLE)
TABLE = Artifact("read", "table.csv", TEXT)
COPY = Artifact("average", "copy.pkl", PICKLE)
RANKS = Artifact("rank", "ranks.pkl", PICKLE)
MODEL = Artifact("publish", "model.pkl", PICKLE)
LISTING = Artifact("publish", "listing.csv", TEXT)
ANSWER = Artifact("serve", "answer.json", JSON)

PIPELINE = replace(
    EXAMPLE,
    stages=(
        Stage("read", ReadSettings, writes=(READINGS, NOTES, DATA, TABLE)),
        Stage("average", AverageSettings, reads=(READINGS, NOTES, DATA, TABLE), writes=(MEANS, COPY), publishes=(MEANS,)),
        Stage("rank", reads=(COPY,), writes=(RANKS,)),
        Stage(
            "publish",
            reads=(NOTES, DATA, TABLE, COPY, RANKS),
            writes=(MODEL, LISTING),
            publishes=(RANKS, MODEL, LISTING),
        ),
    ),
    others=(
        PRUNE,
        Stage("serve", reads=(MODEL, LISTING), writes=(ANSWER,), folder="answers/{run}"),
    ),
    libraries=("pydantic",),
    settings=StageSettings,
)
