"""Manifests for tests that take the place of a stage."""

from datetime import UTC, datetime
from typing import Any

from stagekit.volume.manifest import Manifest
from stagekit.volume.workspace import Workspace


def manifest_of(run: str, stage: str, **values: Any) -> Manifest:
    """Return a manifest of a stage that has just ended, with some fields changed."""
    now = datetime.now(UTC)
    empty = {"inputs": (), "outputs": (), "settings": {}, "setting_sources": {}, "result": None, "image": None, "versions": {}}
    return Manifest(**{**empty, "run": run, "stage": stage, "started": now, "ended": now, "exit_reason": "done", **values})


def commit(work: Workspace, **values: Any) -> str:
    """End a stage successfully; returns the digest of its manifest."""
    fields = {"inputs": tuple(work.inputs), "outputs": tuple(work.outputs), **values}
    return work.commit(manifest_of(work.run, work.stage, **fields))
