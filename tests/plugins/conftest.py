"""A volume with reports, and runs in Airflow's database, for the pages of the plugin."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dags.assets import DAG_ID
from services.contract.artifacts import REPORT
from services.pipeline import PIPELINE
from stagekit.volume.manifest import FileRecord
from stagekit.volume.runs import run_folder
from stagekit.volume.workspace import Workspace
from tests.stagekit.manifests import commit


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_VOLUME", str(tmp_path))
    return tmp_path


@pytest.fixture
def airflow_run(airflow_app: Any) -> Iterator[Callable[..., None]]:
    """Enter a run into Airflow's database, and a task of it that failed with a reason, if there is one."""
    from airflow import settings
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType
    from sqlalchemy import delete, insert, text

    with settings.Session() as session:
        session.execute(text("PRAGMA foreign_keys = OFF"))  # the DAG and its version need not be there

        def enter(run_id: str, state: str, *, failed_task: str = "", reason: str = "") -> None:
            run = DagRun(dag_id=DAG_ID, run_id=run_id, run_type=DagRunType.MANUAL, run_after=datetime.now(UTC))
            run.state = state
            session.add(run)
            session.flush()
            if failed_task:
                key = {"dag_id": DAG_ID, "run_id": run_id, "task_id": failed_task, "map_index": -1}
                task = {"state": "failed", "pool": "default_pool", "pool_slots": 1, "try_number": 1, "id": uuid.uuid4()}
                session.execute(insert(TaskInstance).values(**key, **task))
                if reason:
                    value = XComModel.serialize_value(reason)
                    session.add(XComModel(key="reason", value=value, dag_run_id=run.id, **key))
            session.commit()

        yield enter
        for model in (XComModel, TaskInstance, DagRun):
            session.execute(delete(model).where(model.dag_id == DAG_ID))
        session.commit()


def write_report(volume: Path, run: str, text: str, inputs: tuple[FileRecord, ...] = ()) -> Path:
    """Write a report as its stage does; returns the folder."""
    with Workspace(PIPELINE, REPORT.stage, volume, run) as work:
        work.save(REPORT, text)
        commit(work, inputs=inputs)
    return volume / "runs" / run_folder(run) / REPORT.stage
