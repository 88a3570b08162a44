"""What Airflow knows about a running task: its state, its try number, and what an earlier try has stored.

All of it comes from the API server through the process that supervises the task, and each part may be unavailable.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Context

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed"})
_STOPPED_BY_USER = ENDED | {"restarting", "removed"}  # cleared while it ran; deleted with its run

log = logging.getLogger(__name__)


class TaskState:
    """The state of one try of a task, and Airflow's task state store; a stage also runs without the store.

    Every try of a task has another id. The API server accepts only the id of the current try, and answers every other as if the
    store were empty: a try that still finds its own container in the store is the current one.
    """

    def __init__(self, context: Context) -> None:
        self._task: Any = context["ti"]
        self._store: Any = context.get("task_state_store")
        self._dag_run: Any = context.get("dag_run")
        self._can_store = self._store is not None

    @property
    def try_number(self) -> int:
        """The number of this try, from 1."""
        return int(self._task.try_number)

    @property
    def times_cleared(self) -> int:
        """How often tasks of this run were cleared: a container from before is no result of a task that was cleared since."""
        return getattr(self._dag_run, "clear_number", None) or 0

    def get(self, key: str) -> Any:
        """Read what a try has stored; None if there is nothing, or the store is unavailable."""
        if not self._can_store:
            return None
        try:
            return self._store.get(key)
        except Exception as error:
            self._give_up_store(error)
            return None

    def set(self, key: str, value: Any) -> None:
        """Store a value for later tries, if the store is available."""
        if self._can_store:
            try:
                self._store.set(key, value)
            except Exception as error:
                self._give_up_store(error)

    def _give_up_store(self, error: Exception) -> None:
        self._can_store = False
        log.warning("Airflow's task state store is not available (%s): containers are found by their labels", error)

    def is_current(self, container: str) -> bool:
        """Determine whether this try still is the one that Airflow waits for; False if Airflow cannot be asked."""
        stored = self.get("container")
        if self._can_store:
            return bool(stored == container)
        try:
            return self._read_own_state() == "running"
        except Exception:
            return False

    def is_needed_later(self, container: str) -> bool:
        """Determine whether a later try can need the container of this one, which ends before its container has.

        Airflow stops a task with the same signal whether a user has marked it, cleared it or stopped its run, whether it was
        given up for lost, or whether its worker is being shut down. Its state distinguishes them: a user's decision is recorded
        before the signal, and a worker that shuts down leaves the state as it is.
        """
        try:
            state = self._read_own_state()
        except Exception as error:
            log.warning("Airflow does not return the state of this task (%s): its container is left running", error)
            return True
        if state == "running" and self.is_current(container):
            return bool(self._task.try_number <= self._task.max_tries)  # the first of its tries is no retry
        return state not in _STOPPED_BY_USER

    def has_ended(self, dag: str, run: str, task: str, map_index: str) -> bool:
        """Determine whether any task of this Airflow has ended; False if it is unknown."""
        try:
            return self._read_state(dag, run, task, int(map_index or -1)) in ENDED
        except Exception as error:
            log.warning("Airflow does not return whether task %s of run %s has ended (%s)", task, run, error)
            return False

    def _read_own_state(self) -> str | None:
        return self._read_state(self._task.dag_id, self._task.run_id, self._task.task_id, self._task.map_index)

    def _read_state(self, dag: str, run: str, task: str, map_index: int | None) -> str | None:
        """Read the state of a task: None if it waits to be scheduled, "removed" if there is no such task."""
        piece = map_index if map_index is not None and map_index >= 0 else None
        name = task if piece is None else f"{task}_{piece}"
        states = self._task.get_task_states(dag_id=dag, run_ids=[run], task_ids=[task])
        state: str | None = states.get(run, {}).get(name, "removed")
        return state
