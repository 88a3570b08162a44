"""What the task of a stage leaves in XCom besides its result: digests for the tasks after it, texts for people."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from typing import Any

from stagekit.errors import SetupError

MANIFEST_KEY = "manifest"
"""Key of the SHA-256 of the stage's manifest."""
VOLUME_KEY = "volume"
"""Key of the volume, a path on the Docker host, that the stage has written to."""
REASON_KEY = "reason"
"""Key of the reason why the task failed."""
SUMMARY_KEY = "summary"
"""Key of the sentence that becomes the run's note and the text of notifications."""

log = logging.getLogger(__name__)


def collect_upstream_digests(task_instance: Any, tasks: Iterable[Any], volume: str) -> dict[str, str]:
    """Collect the digests that the upstream stages reported, so that trust does not rest on the volume.

    Parameters
    ----------
    task_instance : RuntimeTaskInstance
    tasks : iterable of StageOperator
        The upstream tasks.
    volume : str
        Path on the Docker host of the volume that this task works on.

    Returns
    -------
    dict of str to str
        SHA-256 of the manifest, by stage.

    Raises
    ------
    SetupError
        If an upstream stage wrote to another volume.
    """
    digests = {}
    for task in sorted(tasks, key=lambda task: str(task.task_id)):
        digest = task_instance.xcom_pull(task_ids=task.task_id, key=MANIFEST_KEY)
        written_to = task_instance.xcom_pull(task_ids=task.task_id, key=VOLUME_KEY)
        if written_to and written_to != volume:
            raise SetupError(
                f"{task.stage} of this run has written to the volume {written_to}, and Airflow has been started with "
                f"{volume} since: start a new run, or go back with `make up VOLUME={shlex.quote(written_to)} "
                "CHANGE_VOLUME=yes` and clear this task"
            )
        if digest:
            digests[task.stage] = digest
        else:
            log.warning("%s reported no manifest (marked as success by hand?): its manifest is not verified", task.task_id)
    return digests
