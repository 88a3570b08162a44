from services.pipeline import PIPELINE
from stagekit.stage.run import run_stage

run_stage(PIPELINE, "changes")
