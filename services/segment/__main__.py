import os
import sys

from services.contract.settings import ENVIRONMENT_PREFIX, ScoreSettings
from stagekit.stage.run import start

if os.environ.get(f"{ENVIRONMENT_PREFIX}SCORE") or any(argument.partition("=")[0] == "--score" for argument in sys.argv[1:]):
    start("score", ScoreSettings, "services.segment.score")
start("segment")
