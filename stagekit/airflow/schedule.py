"""Whether a run is for a past date."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def is_for_past_date(dag_run: Any, timetable: Any) -> bool:
    """Determine whether a run is for an earlier date of the schedule than the current one.

    A run is for a past date if the next date of the schedule after its logical date had come when it started, as in a backfill
    or after a trigger with an old date. A scheduled run that starts late because the machine was down is not: the scheduler
    creates it for the last date that has come. Neither is a run without a logical date.

    Parameters
    ----------
    dag_run : DagRun
        The run, as a task or the scheduler has it.
    timetable : Timetable
        The timetable of its DAG.
    """
    if dag_run.logical_date is None:
        return False
    # Imported here, because Airflow's timetables take a while to import.
    import pendulum
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import DataInterval, TimeRestriction

    following = coerce_to_core_timetable(timetable).next_dagrun_info(
        last_automated_data_interval=DataInterval.exact(pendulum.instance(dag_run.logical_date)),
        restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
    )
    started = dag_run.start_date or datetime.now(UTC)
    return following is not None and following.run_after <= started
