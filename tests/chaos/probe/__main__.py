from stagekit.pipeline import Pipeline, Stage
from stagekit.stage.run import run_stage

run_stage(Pipeline("probe", (Stage("probe"),)), "probe")
