"""What every pipeline's plugin adds to Airflow: sign-in protection, the notes of runs, and links on the tasks of stages."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class PipelinePlugin(AirflowPlugin):
    """Base of the plugin in `plugins/`, which adds its name and the pages of the pipeline.

    The file imports this module, not the class: Airflow takes every plugin class in the file's namespace for a plugin.
    """

    # Properties, because every task loads the plugins, but only the scheduler and the api-server need what these import.

    @property
    def fastapi_root_middlewares(self) -> list[Any]:  # type: ignore[override]
        """Middlewares that protect the sign-in."""
        from stagekit.airflow.login_throttle import MIDDLEWARES

        return MIDDLEWARES

    @property
    def listeners(self) -> list[Any]:  # type: ignore[override]
        """Listeners that write the notes of runs."""
        from stagekit.airflow import run_notes

        return [run_notes]

    @property
    def operator_extra_links(self) -> list[Any]:  # type: ignore[override]
        """Links on the page of each task that is a stage."""
        from stagekit.airflow.task_links import ReplayLink, ReportLink

        return [ReportLink(), ReplayLink()]
