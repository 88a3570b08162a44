"""Links on the page of each task that is a stage. Airflow asks for them when it shows the page: they are there at once."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink

from stagekit.airflow.stage_operator import StageOperator


class ReportLink(BaseOperatorLink):
    """To the report of the task's run, on the run's page."""

    name = "Report"
    operators: ClassVar[list[type[BaseOperator]]] = [StageOperator]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return f"{_page_of_run(ti_key)}/plugin/report"


class ReplayLink(BaseOperatorLink):
    """To the command that replays the stage by hand.

    A link cannot hold a command, and a page that shows whatever its address says would lend Airflow's name to anybody's
    commands. So it leads to where Airflow shows what the task was: `docker_run` is one of its rendered fields.
    """

    name = "Replay command"
    operators: ClassVar[list[type[BaseOperator]]] = [StageOperator]

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        return f"{_page_of_run(ti_key)}/tasks/{quote(ti_key.task_id, safe='')}/rendered_templates"


def _page_of_run(ti_key: Any) -> str:
    # Relative: Airflow need not stand at the root of its host.
    return f"dags/{quote(ti_key.dag_id, safe='')}/runs/{quote(ti_key.run_id, safe='')}"
