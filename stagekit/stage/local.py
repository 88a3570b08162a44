"""The local runner: every stage in order, each as a process on this machine, without Docker and Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stagekit.errors import ExitCode, StageError
from stagekit.pipeline import Pipeline, Stage
from stagekit.serialization import to_flag
from stagekit.settings import ENVIRONMENT_PREFIX, StageSettings
from stagekit.stage.command_line import adopt_former_environment, parse
from stagekit.volume.runs import run_folder


def run_pipeline(pipeline: Pipeline, arguments: list[str], format_summary: Callable[[Path], str]) -> int:
    """Run all stages of a pipeline in order and return the exit code of the first that fails, or 0.

    Parameters
    ----------
    pipeline : Pipeline
    arguments : list of str
        Command line: every setting of every stage is a flag.
    format_summary : callable
        Given the folder of the run, returns what is printed after the last stage.
    """
    adopt_former_environment(pipeline.former_environment_prefix)
    try:
        settings = parse(pipeline.settings, arguments, prog="python -m services")
    except StageError as error:
        print(f"failed ({error.exit_code:d}, {error.exit_code.meaning}): {error}", file=sys.stderr)
        return error.exit_code
    for stage in pipeline.stages:
        command = [sys.executable, "-m", f"services.{stage.name}", *to_flags(stage, settings)]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL)  # the summary shows the results
        if ended.returncode != ExitCode.SUCCESS:
            return ended.returncode
    print(format_summary(settings.volume / "runs" / run_folder(settings.run)))
    return ExitCode.SUCCESS


def to_flags(stage: Stage, settings: StageSettings) -> list[str]:
    """Return the settings of one stage as its command line."""
    names = set(stage.settings.model_fields)
    values = settings.model_dump(mode="json", include=names, exclude_defaults=True)
    # The stage reads the environment, too: a default value that was given as a flag must take precedence over it.
    in_environment = {name for name in names if os.environ.get(ENVIRONMENT_PREFIX + name.upper())}
    values |= settings.model_dump(mode="json", include=in_environment)
    return [to_flag(name, value) for name, value in values.items()]
