"""What becomes known of a run that has made its segments: a sentence for people, an event for DAGs that wait for it."""

from __future__ import annotations

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


def in_words(result: dict[str, Any]) -> str:
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
