"""Run every stage in order as local processes; the flags are the settings of all stages."""

from __future__ import annotations

import sys

from services.contract.summary import format_summary
from services.pipeline import PIPELINE
from stagekit.stage.local import run_pipeline

if __name__ == "__main__":
    sys.exit(run_pipeline(PIPELINE, sys.argv[1:], format_summary))
