import sys

from services.pipeline import MEANS, PIPELINE
from stagekit.stage.local import run_pipeline

sys.exit(run_pipeline(PIPELINE, sys.argv[1:], lambda run: (run / MEANS.stage / MEANS.name).read_text()))
