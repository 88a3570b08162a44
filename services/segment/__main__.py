import os
import sys

from services.contract.settings import ENVIRONMENT_PREFIX, ScoreSettings
from stagekit.stage.run import run_stage

if os.environ.get(f"{ENVIRONMENT_PREFIX}SCORE") or any(argument.partition("=")[0] == "--score" for argument in sys.argv[1:]):
    run_stage("score", ScoreSettings, "services.segment.score")
run_stage("segment")
