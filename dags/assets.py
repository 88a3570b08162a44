"""What becomes known of a run with segments: a sentence for people, and an event for DAGs that wait for new segments."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetAlias, Context

from services.pipeline import PIPELINE

DAG_ID = PIPELINE.dag_id

ACTIVE_SEGMENTS = Asset("active_segments")
"""A DAG that is scheduled on this asset runs whenever new segments have been published."""

PUBLISHED_ALIAS = AssetAlias("published_segments")
"""The outlet of the task that publishes. An asset as outlet would be updated by every success of the task, even if the run was
not published; through an alias, the task decides whether it updates the asset."""


def emit_asset_event(context: Context, result: dict[str, Any]) -> None:
    """Update the asset if the run was published: `post_execute` of the task with the outlet `PUBLISHED_ALIAS`."""
    if result["published"]:
        extra = {name: result[name] for name in ("run", "k", "customers")}
        context["outlet_events"][PUBLISHED_ALIAS].add(ACTIVE_SEGMENTS, extra=extra)


def summarise_result(result: dict[str, Any]) -> str:
    """Summarise a run: k, sizes, whether it is published, not published or experimental, and the checks that failed."""
    failed_checks = "; ".join(result["held_back"])
    if result["published"]:
        verdict = "published although checks failed" if failed_checks else "published"
    elif result.get("experimental"):
        verdict = "experimental, not published"
    else:
        verdict = "not published"
    if failed_checks:
        verdict += f" ({failed_checks})"
    sizes = [f"{segment['customers']:,} {segment['name']}" for segment in result["segments"]]
    if len(sizes) < result["k"]:
        sizes.append(f"{result['k'] - len(sizes)} more")  # the result names only some of many segments
    return f"{result['k']} segments, {result['customers']:,} customers, {verdict}: {'; '.join(sizes)}"
