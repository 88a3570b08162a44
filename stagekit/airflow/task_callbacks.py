"""What happens after a stage's task has ended: its container is removed, and the log of a failure ends with the reason."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Context

log = logging.getLogger(__name__)


def remove_container(context: Context) -> None:
    """Remove the container of a task whose success Airflow has recorded."""
    task: Any = context["task"]
    task.remove_containers()


def log_failure_reason(context: Context) -> None:
    """Log, below Airflow's traceback, why the task failed and how to replay the stage."""
    log.info("::endgroup::")  # Airflow has opened a section, which its UI shows folded
    # Without an exception, the scheduler noticed the failure, not the task.
    log.error("%s", context.get("exception") or "the task process exited unexpectedly")
    command = getattr(context["task"], "docker_run", "")
    if command:
        log.error("to replay this stage by hand: %s", command)
