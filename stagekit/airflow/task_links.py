"""Links on the page of each task that is a stage. Airflow computes them when it shows the page: they need no result."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink

from stagekit.airflow.stage_operator import StageOperator


class ReportLink(BaseOperatorLink):
    """Link to the report of the task's run, a tab on the run's page."""

    name = "Report"
    operators: ClassVar[list[type[BaseOperator]]] = [StageOperator]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the address, relative to Airflow's."""
        return f"{_page_of_run(ti_key)}/plugin/report"


class ReplayLink(BaseOperatorLink):
    """Link to the command that replays the stage by hand.

    A link cannot contain a command, and a page that displays its address would let others show commands in Airflow's name. The
    link leads to the rendered templates of the task, of which `docker_run` is one.
    """

    name = "Replay command"
    operators: ClassVar[list[type[BaseOperator]]] = [StageOperator]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the address, relative to Airflow's."""
        return f"{_page_of_run(ti_key)}/tasks/{quote(ti_key.task_id, safe='')}/rendered_templates"


def _page_of_run(ti_key: Any) -> str:
    # Relative, because Airflow may be served below a path of its host.
    return f"dags/{quote(ti_key.dag_id, safe='')}/runs/{quote(ti_key.run_id, safe='')}"
