"""What Airflow's own pages gain: a run's report on the run's page, the segments in force one click away, links on the tasks."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "segments"

# A pie of three segments. Coloured, so that it can be seen in the light, in the dark, and where it is the one chosen.
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Cpath fill='%2356b4e9' d='M12 12V2A10 10 0 0 1 15.4 21.4z'/%3E"
    "%3Cpath fill='%23e69f00' d='M12 12 15.4 21.4A10 10 0 0 1 2.2 13.7z'/%3E"
    "%3Cpath fill='%23009e73' d='M12 12 2.2 13.7A10 10 0 0 1 12 2z'/%3E%3C/svg%3E"
)

# The addresses are relative: Airflow need not stand at the root of its host.
REPORT_OF_RUN = {
    "name": "Report",
    "destination": "dag_run",
    "url_route": "report",
    "href": f"{PREFIX}/dags/{{DAG_ID}}/runs/{{RUN_ID}}",
    "icon": ICON,
}
REPORT_IN_FORCE = {
    "name": "Segments",
    "destination": "nav",
    "nav_top_level": True,
    "url_route": "segments",
    "href": f"{PREFIX}/in-force",
    "icon": ICON,
}
VIEWS = [REPORT_OF_RUN, REPORT_IN_FORCE]


class SegmentsPlugin(AirflowPlugin):
    name = "customer_segmentation"
    external_views = VIEWS

    # Every task loads the plugins too, but only the api-server asks for these two: no task waits for what they import.

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        from stagekit.airflow.report_pages import app

        return [{"name": "Segments", "app": app, "url_prefix": f"/{PREFIX}"}]

    @property
    def listeners(self) -> list[Any]:  # type: ignore[override]
        from stagekit.airflow import run_notes

        return [run_notes]

    @property
    def operator_extra_links(self) -> list[Any]:  # type: ignore[override]
        from stagekit.airflow.task_links import ReplayLink, ReportLink

        return [ReportLink(), ReplayLink()]
