"""The pages that the plugin shows: reports, for those who may see the run that wrote them.

Airflow mounts a plugin's app without any check of who asks, so every page here names what it takes to see it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException as AnyHTTPException

from dags.assets import DAG_ID
from services.contract.artifacts import REPORT
from services.pipeline import PIPELINE
from stagekit.airflow.task_results import REASON_KEY
from stagekit.errors import MissingInputError, SetupError, StageError, from_os_error
from stagekit.volume.model_store import ModelStore
from stagekit.volume.runs import run_folder
from stagekit.volume.upstream import UpstreamResults

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    # A report comes from the volume, which more people can write to than Airflow: it is shown and can do nothing.
    "Content-Security-Policy": f"{POLICY}; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ max-width: 34rem; margin: 18vh auto 0; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif }}</style>
</head>
<body><h1>{title}</h1><p>{text}</p></body>
</html>
"""

log = logging.getLogger(__name__)

# No documentation of itself: that would answer everybody.
app = FastAPI(title="Segments", openapi_url=None)


@app.get(
    # A run id may hold a slash.
    "/dags/{dag_id}/runs/{run_id:path}",
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))],
)
def report_of_run(dag_id: str, run_id: str) -> Response:
    if dag_id != DAG_ID:
        raise HTTPException(404, f"Only the runs of {DAG_ID} have a report.")
    try:
        return HTMLResponse(_report(run_id))
    except MissingInputError:
        return _without_report(run_id)


@app.get("/in-force", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID))])
def active_report() -> Response:
    run = ModelStore(_volume(), PIPELINE).read_registry().active_run
    if run is None:
        return _waiting("No segments have been published yet. Those of the first run that is not held back appear here.")
    try:
        return HTMLResponse(_report(run))
    except MissingInputError:
        return _without_report(run, f"The segments of run {run} are active, but there is no report of it. ")


def _volume() -> Path:
    volume = Path(os.environ.get("PIPELINE_VOLUME", "/shared"))
    if not volume.is_dir():
        raise SetupError(f"there is no volume at {volume}: mount it there, or say where it is with PIPELINE_VOLUME")
    return volume


def _report(run: str) -> str:
    """Read a run's report, after its bytes were found to be those in the manifest, and the manifest to be that run's."""
    report: str = UpstreamResults(_volume(), run, {}).load(REPORT)
    return report


def _without_report(run_id: str, introduction: str = "") -> HTMLResponse:
    """Explain why a run has no report: it is unknown, not finished, failed, or its files are gone."""
    run = _airflow_run(run_id)
    if run is None:
        title, text = "No such run", f"Airflow knows no run {run_id}, and there is no report of it on the volume."
    elif run.state == "failed":
        title, text = "The run failed", f"Run {run_id} failed, so it has no report. {run.failure}"
    elif run.state != "success":
        return _waiting(f"{introduction}Run {run_id} is {run.state}. Its last task writes the report, which then appears here.")
    elif not (_volume() / "runs" / run_folder(run_id)).is_dir():
        title = "The report was removed"
        text = (
            f"Run {run_id} succeeded, but its folder runs/{run_folder(run_id)} is no longer on the volume. "
            "Restore it from a backup, or clear the run to compute it from the current files."
        )
    else:
        title = "The report was removed"
        text = (
            f"Run {run_id} succeeded, but the folder runs/{run_folder(run_id)} on the volume has no report. "
            f"Clear its task report_segments to write it."
        )
    return _page(title, introduction + text, 404)


class AirflowRun(NamedTuple):
    """The state of a run, and which task failed and why, as a sentence."""

    state: str
    failure: str


def _airflow_run(run_id: str) -> AirflowRun | None:
    if "\0" in run_id:  # no text of a database can hold it
        return None
    with create_session(scoped=False) as session:
        state = session.scalar(select(DagRun.state).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id))
        if state is None:
            return None
        of_run = (TaskInstance.dag_id == DAG_ID, TaskInstance.run_id == run_id)
        failed = session.scalars(
            select(TaskInstance).where(*of_run, TaskInstance.state == "failed").order_by(TaskInstance.end_date)
        ).first()
        if failed is None:
            return AirflowRun(str(state), "None of its tasks failed: it was marked as failed, or it took too long.")
        query = XComModel.get_many(run_id=run_id, key=REASON_KEY, dag_ids=DAG_ID, task_ids=failed.task_id)
        reason = session.scalars(query).first()
        name = failed.task_display_name or failed.task_id
        said = XComModel.deserialize_value(reason) if reason else "the log of the task has the reason"
        return AirflowRun(str(state), f"Task {name}: {said}")


def _waiting(text: str) -> HTMLResponse:
    # The browser asks again only where a page may run scripts, and says who asks only where it keeps its origin. The rest of
    # the policy still allows no script, and nothing on this page is from the volume but a name, escaped.
    policy = f"{POLICY}; sandbox allow-scripts allow-same-origin"
    return _page("No report yet", text, 404, {"Content-Security-Policy": policy, "Refresh": "10"})


def _page(title: str, text: str, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(PAGE.format(title=escape(title), text=escape(text)), status, headers)


@app.exception_handler(AnyHTTPException)
async def refuse(_: Request, error: Exception) -> HTMLResponse:
    """Say it in a page: what answers here is shown in a frame of Airflow's."""
    assert isinstance(error, AnyHTTPException)
    titles = {401: "Please sign in", 403: "Not for you to see"}
    return _page(titles.get(error.status_code, "Nothing to show"), str(error.detail), error.status_code)


@app.exception_handler(OSError)
@app.exception_handler(StageError)
async def explain(_: Request, error: Exception) -> HTMLResponse:
    """Nothing that differs from its manifest is shown."""
    if isinstance(error, OSError):
        error = from_os_error(error)
    log.error("a report cannot be shown: %s", error)
    return _page("This report cannot be shown", str(error), 500)


@app.middleware("http")
async def guard(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await follow(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
