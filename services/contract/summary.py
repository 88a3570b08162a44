"""The results of a finished run, in a few lines for a terminal."""

from __future__ import annotations

from pathlib import Path

from services.contract.artifacts import EVALUATION, REPORT, SEGMENTATION
from services.contract.results import Evaluation, Segmentation
from stagekit.volume.artifact import Artifact


def format_summary(run: Path) -> str:
    """Describe the results of a run and name their folder.

    Parameters
    ----------
    run : Path
        Folder of the run.
    """

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
