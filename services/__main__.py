"""Run every stage in order on this machine, each as a process of its own: no Docker, no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.contract.results import Evaluation, Segmentation
from services.contract.settings import CONSUMERS, ENVIRONMENT_PREFIX, SETTINGS, PipelineSettings, settings_model
from stagekit.errors import ExitCode, StageError
from stagekit.serialization import to_flag
from stagekit.stage.command_line import parse
from stagekit.volume.runs import run_folder
from stagekit.volume.workspace import EVALUATION, REPORT, SEGMENTATION, Artifact


def main(arguments: list[str]) -> int:
    try:
        settings = parse(PipelineSettings, arguments, prog="python -m services")
    except StageError as error:
        print(f"failed ({error.exit_code:d}, {error.exit_code.meaning}): {error}", file=sys.stderr)
        return error.exit_code
    for stage in stages():
        command = [sys.executable, "-m", f"services.{stage}", *to_flags(stage, settings)]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL)  # the results are told below
        if ended.returncode != ExitCode.SUCCESS:
            return ended.returncode
    print(summarise(settings.volume / "runs" / run_folder(settings.run)))
    return ExitCode.SUCCESS


def stages() -> list[str]:
    """Name every stage in the order in which they run."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/main.py"))
    return [*SETTINGS, *(stage for stage in folders if stage not in {*SETTINGS, *CONSUMERS})]


def to_flags(stage: str, settings: PipelineSettings) -> list[str]:
    """Write the settings that a stage knows as its command line."""
    known = set(settings_model(stage).model_fields)
    values = settings.model_dump(mode="json", include=known, exclude_defaults=True)
    # A stage reads the environment, too: a default that was given as a flag goes before it.
    in_environment = {name for name in known if os.environ.get(ENVIRONMENT_PREFIX + name.upper())}
    values |= settings.model_dump(mode="json", include=in_environment)
    return [to_flag(name, value) for name, value in values.items()]


def summarise(run: Path) -> str:
    """Tell what a finished run has found, and where it is."""

    def path(artifact: Artifact) -> Path:
        return run / artifact.stage / artifact.name

    evaluation = Evaluation.model_validate_json(path(EVALUATION).read_bytes())
    segmentation = Segmentation.model_validate_json(path(SEGMENTATION).read_bytes())
    lines = ["", f"{segmentation.k} segments: {evaluation.reason}"]
    lines += [f"{one.customers:>10,} {one.share:>6.1%}  {one.segment_id}: {one.name}" for one in segmentation.segments]
    lines += [f"{count:>10,}         without a segment: {reason}" for reason, count in segmentation.unassigned.items()]
    lines.append(_publication(segmentation))
    lines += [f"  failed check: {reason}" for reason in segmentation.held_back]
    lines += [f"The report: {path(REPORT)}", f"All results: {run}"]
    return "\n".join(lines)


def _publication(segmentation: Segmentation) -> str:
    if segmentation.experimental:
        return "Experimental run (publish=never): nothing was published."
    if segmentation.published:
        return "Published" + (", although a check failed (publish=always):" if segmentation.held_back else ".")
    return "Not published:"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
