"""Pages of this pipeline in Airflow: the report as a tab on the run's page, and the list of all runs in the menu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagekit.airflow import plugin

if TYPE_CHECKING:
    from services.contract.results import RunSummary

PREFIX = "segments"

# A pie of three segments, coloured so that it is visible in light and dark mode and when it is selected.
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Cpath fill='%2356b4e9' d='M12 12V2A10 10 0 0 1 15.4 21.4z'/%3E"
    "%3Cpath fill='%23e69f00' d='M12 12 15.4 21.4A10 10 0 0 1 2.2 13.7z'/%3E"
    "%3Cpath fill='%23009e73' d='M12 12 2.2 13.7A10 10 0 0 1 12 2z'/%3E%3C/svg%3E"
)

# The addresses are relative, because Airflow may be served below a path of its host.
REPORT_OF_RUN = {
    "name": "Report",
    "destination": "dag_run",
    "url_route": "report",
    "href": f"{PREFIX}/dags/{{DAG_ID}}/runs/{{RUN_ID}}",
    "icon": ICON,
}
SEGMENTS = {
    "name": "Segments",
    "destination": "nav",
    "nav_top_level": True,
    "url_route": "segments",
    "href": f"{PREFIX}/runs",
    "icon": ICON,
}
VIEWS = [REPORT_OF_RUN, SEGMENTS]


def describe_run(run: RunSummary) -> dict[str, str]:
    """Return the key figures of a run for the list of runs, by the title of their column."""
    sizes = ", ".join(f"{segment.segment_id}: {segment.customers:,}" for segment in run.segments)
    stability = [segment.jaccard for segment in run.segments if segment.jaccard is not None]
    return {
        "Status": "; ".join([run.status, *run.failed_checks]),
        "Customers": f"{run.customers:,}",
        "By segment": f"{sizes}; none: {run.unassigned:,}",
        "Silhouette": f"{run.silhouette:.2f}",
        "Least stability": f"{min(stability):.2f}" if stability else "–",
        "Verdict": run.verdict or "not tested",
        "Largest drift (PSI)": "–" if run.max_psi is None else f"{run.max_psi:.2f}",
    }


class SegmentsPlugin(plugin.PipelinePlugin):
    """Registers the pages; the kit's part of the plugin is in the base class."""

    name = "customer_segmentation"
    external_views = VIEWS

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The pages of the reports."""
        from dags.assets import DAG_ID
        from services.contract.artifacts import REPORT
        from services.contract.results import RunSummary
        from services.pipeline import PIPELINE
        from stagekit.airflow.report_pages import ReportPages

        app = ReportPages(DAG_ID, PIPELINE, REPORT, RunSummary, describe_run).app()
        return [{"name": "Segments", "app": app, "url_prefix": f"/{PREFIX}"}]
