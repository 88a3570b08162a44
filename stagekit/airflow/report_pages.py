"""Pages of a pipeline in Airflow: the report of a run, the report of the active run, and the list of all runs.

Airflow mounts a plugin's app without authentication, so every page here requires the right to read the runs of its DAG.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import select
from starlette.exceptions import HTTPException as AnyHTTPException

from stagekit.airflow.task_results import REASON_KEY
from stagekit.errors import MissingInputError, SetupError, StageError, from_os_error
from stagekit.pipeline import Pipeline
from stagekit.volume.artifact import Artifact
from stagekit.volume.history import HistoryEntry, read_history
from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.model_store import ModelStore
from stagekit.volume.runs import run_folder
from stagekit.volume.upstream import UpstreamResults

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    # More people can write to the volume than to Airflow: a report from it is displayed but cannot act.
    "Content-Security-Policy": f"{POLICY}; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

log = logging.getLogger(__name__)


class AirflowRun(NamedTuple):
    """The state of a run in Airflow's database."""

    state: str
    failure: str
    """A sentence with the task that failed and the reason."""


class ReportPages:
    """The pages of one pipeline.

    Parameters
    ----------
    dag_id : str
    pipeline : Pipeline
    report : Artifact
        The HTML page that the last stage writes.
    history_model : type of HistoryEntry
        The entries of history/runs.json.
    describe_run : callable
        Returns the key figures of an entry: the text of each cell by the title of its column, in order.
    """

    def __init__(
        self,
        dag_id: str,
        pipeline: Pipeline,
        report: Artifact,
        history_model: type[Any] = HistoryEntry,
        describe_run: Callable[[Any], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._dag_id = dag_id
        self._pipeline = pipeline
        self._report = report
        self._history_model = history_model
        self._describe_run = describe_run

    def app(self) -> FastAPI:
        """Create the app, without its own documentation, which would be public."""
        app = FastAPI(title="Reports", openapi_url=None)
        may_read_runs = [Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=self._dag_id))]
        app.get("/runs", dependencies=may_read_runs)(self.list_runs)
        app.get("/active", dependencies=may_read_runs)(self.active_report)
        may_read_run = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
        app.get("/dags/{dag_id}/runs/{run_id:path}", dependencies=may_read_run)(self.report_of_run)  # run ids may contain "/"
        app.exception_handler(AnyHTTPException)(http_error_page)
        app.exception_handler(OSError)(stage_error_page)
        app.exception_handler(StageError)(stage_error_page)
        app.middleware("http")(add_security_headers)
        return app

    def report_of_run(self, dag_id: str, run_id: str) -> Response:
        """Serve the report of a run, or the reason why there is none."""
        if dag_id != self._dag_id:
            raise HTTPException(404, f"Only the runs of {self._dag_id} have a report.")
        try:
            return HTMLResponse(self._load_report(run_id))
        except MissingInputError:
            return self._without_report(run_id)

    def active_report(self) -> Response:
        """Serve the report of the active run."""
        run = self._active_run()
        if run is None:
            return _waiting_page("No run has been published yet. The first published run will appear here.")
        try:
            return HTMLResponse(self._load_report(run))
        except MissingInputError:
            return self._without_report(run, f"Run {run} is active, but it has no report. ")

    def list_runs(self) -> Response:
        """List the runs in the history, the latest first, with links to the reports that exist."""
        volume = _volume()
        active = self._active_run()
        entries = read_history(volume, self._history_model)[::-1]
        page = TEMPLATES.get_template("page.html.jinja").render(
            title="Runs",
            active=active,
            runs=[(entry, self._describe_run(entry)) for entry in entries],
            addresses={run: self._address(volume, run) for run in (active, *(entry.run for entry in entries)) if run},
        )
        # With Airflow's origin, so that the browser sends the session's cookie when a link is followed; scripts are forbidden.
        return HTMLResponse(page, headers={"Content-Security-Policy": f"{POLICY}; sandbox allow-same-origin"})

    def _address(self, volume: Path, run: str) -> str:
        """Return the address of a run's report, relative to that of the list; empty if there is none."""
        manifest = volume / "runs" / run_folder(run) / self._report.stage / MANIFEST_NAME
        return f"dags/{quote(self._dag_id, safe='')}/runs/{quote(run, safe='')}" if manifest.is_file() else ""

    def _active_run(self) -> str | None:
        active: str | None = ModelStore(_volume(), self._pipeline).read_registry().active_run
        return active

    def _load_report(self, run: str) -> str:
        """Read a run's report; its SHA-256 has to be the one in the manifest, and the manifest that run's."""
        report: str = UpstreamResults(_volume(), run, {}).load(self._report)
        return report

    def _without_report(self, run_id: str, introduction: str = "") -> HTMLResponse:
        """Explain why a run has no report: it is unknown, not finished, failed, or its files were removed."""
        run = self._airflow_run(run_id)
        folder = f"runs/{run_folder(run_id)}"
        if run is None:
            title, text = "No such run", f"Airflow knows no run {run_id}, and there is no report of it on the volume."
        elif run.state == "failed":
            title, text = "The run failed", f"Run {run_id} failed, so it has no report. {run.failure}"
        elif run.state != "success":
            text = f"{introduction}Run {run_id} is {run.state}. Its last task writes the report, which then appears here."
            return _waiting_page(text)
        elif not (_volume() / folder).is_dir():
            title = "The report was removed"
            text = (
                f"Run {run_id} succeeded, but its folder {folder} is no longer on the volume. "
                "Restore it from a backup, or clear the run to compute it from the current files."
            )
        else:
            title = "The report was removed"
            text = (
                f"Run {run_id} succeeded, but the folder {folder} on the volume has no report. "
                f"Clear the task of its stage {self._report.stage} to write it."
            )
        return _page(title, introduction + text, 404)

    def _airflow_run(self, run_id: str) -> AirflowRun | None:
        if "\0" in run_id:  # no database can store it as text
            return None
        with create_session(scoped=False) as session:
            state = session.scalar(select(DagRun.state).where(DagRun.dag_id == self._dag_id, DagRun.run_id == run_id))
            if state is None:
                return None
            of_run = (TaskInstance.dag_id == self._dag_id, TaskInstance.run_id == run_id)
            failed = session.scalars(
                select(TaskInstance).where(*of_run, TaskInstance.state == "failed").order_by(TaskInstance.end_date)
            ).first()
            if failed is None:
                return AirflowRun(str(state), "None of its tasks failed: it was marked as failed, or it took too long.")
            query = XComModel.get_many(run_id=run_id, key=REASON_KEY, dag_ids=self._dag_id, task_ids=failed.task_id)
            stored = session.scalars(query).first()
            name = failed.task_display_name or failed.task_id
            reason = XComModel.deserialize_value(stored) if stored else "the log of the task has the reason"
            return AirflowRun(str(state), f"Task {name}: {reason}")


def _volume() -> Path:
    volume = Path(os.environ.get("PIPELINE_VOLUME", "/shared"))
    if not volume.is_dir():
        raise SetupError(f"there is no volume at {volume}: mount it there, or set PIPELINE_VOLUME to its path")
    return volume


def _waiting_page(text: str) -> HTMLResponse:
    # A browser refreshes only a page that may run scripts, and sends the session's cookie only for one with Airflow's origin.
    # The rest of the policy still forbids scripts, and the only text from the volume is a name, escaped.
    policy = f"{POLICY}; sandbox allow-scripts allow-same-origin"
    return _page("No report yet", text, 404, {"Content-Security-Policy": policy, "Refresh": "10"})


def _page(title: str, text: str, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(TEMPLATES.get_template("page.html.jinja").render(title=title, text=text), status, headers)


async def http_error_page(_: Request, error: Exception) -> HTMLResponse:
    """Return a page instead of JSON, because Airflow shows the answer in a frame."""
    assert isinstance(error, AnyHTTPException)
    if error.status_code == 403:
        return _page("No permission", "You do not have permission to view this report.", 403)
    title = "Please sign in" if error.status_code == 401 else "Nothing to show"
    return _page(title, str(error.detail), error.status_code)


async def stage_error_page(_: Request, error: Exception) -> HTMLResponse:
    """Explain why nothing is shown, for example because the report differs from its manifest."""
    if isinstance(error, OSError):
        error = from_os_error(error)
    log.error("a report cannot be shown: %s", error)
    return _page("This report cannot be shown", str(error), 500)


async def add_security_headers(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the security headers to every response."""
    response = await follow(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
