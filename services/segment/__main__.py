import os
import sys

from services.pipeline import PIPELINE
from stagekit.settings import ENVIRONMENT_PREFIX
from stagekit.stage.run import run_stage

is_score = os.environ.get(f"{ENVIRONMENT_PREFIX}SCORE") or any(flag.partition("=")[0] == "--score" for flag in sys.argv[1:])
run_stage(PIPELINE, "score" if is_score else "segment")
