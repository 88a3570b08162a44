"""What becomes known of a run that has made its segments: a sentence for people, an event for DAGs that wait for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context

DAG_ID, TASK_ID = "customer_segmentation_lab1", "segment_customers"
"""The DAG that makes segments, and its task that publishes them: what the plugins look for."""

SEGMENTS_IN_FORCE = Asset("segments_in_force")
"""What a DAG is scheduled on that is to run whenever new segments have been published."""

PUBLISHED = AssetAlias("published_segments")
"""The outlet of the task that publishes. An asset as outlet would be updated by every success of the task, also by that of a
run that was not published; through an alias, only what the task names is updated."""


def announce(context: Context, result: dict[str, Any]) -> None:
    """Update the asset if the run was published: `post_execute` of the task with the outlet `PUBLISHED`."""
    if result["published"]:
        extra = {name: result[name] for name in ("run", "k", "customers")}
        context["outlet_events"][PUBLISHED].add(SEGMENTS_IN_FORCE, extra=extra)


def summarise_result(result: dict[str, Any]) -> str:
    """Summarise a run: k, sizes, published, not published or experimental, and the checks that failed."""
    why = "; ".join(result["held_back"])
    if result["published"]:
        verdict = "published although checks failed" if why else "published"
    elif result.get("experimental"):
        verdict = "experimental, not published"
    else:
        verdict = "not published"
    sizes = [f"{segment['customers']:,} {segment['name']}" for segment in result["segments"]]
    if len(sizes) < result["k"]:
        sizes.append(f"{result['k'] - len(sizes)} more")  # a result is kept short
    return f"{result['k']} segments, {result['customers']:,} customers, {verdict}{why and f' ({why})'}: {'; '.join(sizes)}"


def is_for_past_date(dag_run: Any, timetable: Any) -> bool:
    """Determine whether a run stands for an earlier date of the schedule than the one that is current.

    A run stands for the past if the next date of the schedule after its logical date had come when it started, as in a backfill
    or after a trigger with an old date. A scheduled run that starts late, because the machine was down, does not: the scheduler
    creates it for the last date that has come. Neither does a run without a logical date.

    Parameters
    ----------
    dag_run : DagRun
        The run, as a task or the scheduler has it.
    timetable : Timetable
        The timetable of its DAG.

    Returns
    -------
    bool
    """
    if dag_run.logical_date is None:
        return False
    # Only here: Airflow's timetables take a while to import.
    import pendulum
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import DataInterval, TimeRestriction

    following = coerce_to_core_timetable(timetable).next_dagrun_info(
        last_automated_data_interval=DataInterval.exact(pendulum.instance(dag_run.logical_date)),
        restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
    )
    started = dag_run.start_date or datetime.now(UTC)
    return following is not None and following.run_after <= started
