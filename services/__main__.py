"""Run every stage in order on this machine, each as a process of its own: no Docker, no Airflow."""

from __future__ import annotations

import subprocess
import sys

from services.contract.errors import StageError
from services.contract.runs import run_folder
from services.contract.settings import SETTINGS, PipelineSettings, as_text, parse


def main(arguments: list[str]) -> int:
    try:
        settings = parse(PipelineSettings, arguments, prog="python -m services")
    except StageError as error:
        print(f"failed ({error.exit_code:d}, {error.exit_code.meaning}): {error}", file=sys.stderr)
        return error.exit_code
    for stage in SETTINGS:
        ended = subprocess.run([sys.executable, "-m", f"services.{stage}", *flags_of(stage, settings)])
        if ended.returncode != 0:
            return ended.returncode
    print(f"The results are in {settings.volume / 'runs' / run_folder(settings.run)}")
    return 0


def flags_of(stage: str, settings: PipelineSettings) -> list[str]:
    """Write the settings that a stage knows as its command line."""
    known = SETTINGS[stage].model_fields
    values = settings.model_dump(mode="json", include=set(known), exclude_defaults=True)
    return [f"--{name.replace('_', '-')}={as_text(value)}" for name, value in values.items()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
