import os
import sys

from services.pipeline import PIPELINE
from stagekit.settings import ENVIRONMENT_PREFIX
from stagekit.stage.run import run_stage

names = [f"{prefix}SCORE" for prefix in (ENVIRONMENT_PREFIX, PIPELINE.former_environment_prefix)]
is_score = any(map(os.environ.get, names)) or any(flag.partition("=")[0] == "--score" for flag in sys.argv[1:])
run_stage(PIPELINE, "score" if is_score else "segment")
