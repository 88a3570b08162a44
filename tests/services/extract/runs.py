"""Runs of the stage in this process: what it makes of files on a volume."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from services.contract.artifacts import CUSTOMERS
from services.contract.settings import ExtractSettings
from services.extract import main
from services.pipeline import PIPELINE
from stagekit.volume.manifest import Manifest
from stagekit.volume.workspace import Workspace

FEATURES = ("BALANCE", "PURCHASES")


def extract(volume: Path, **settings: Any) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    """Run the stage; returns its result and the parts that it wrote."""
    started = datetime.now(UTC)
    with Workspace(PIPELINE, "extract", volume, "demo") as work:
        result = main.main(ExtractSettings(volume=volume, run="demo", **{"feature_columns": FEATURES, **settings}), work)
        empty = {"settings": {}, "setting_sources": {}, "image": None, "versions": {}, "exit_reason": "done"}
        records = {"inputs": tuple(work.inputs), "outputs": tuple(work.outputs)}
        work.commit(
            Manifest(run="demo", stage="extract", result=result, started=started, ended=datetime.now(UTC), **records, **empty)
        )
    with Workspace(PIPELINE, "transform", volume, "demo") as work:
        return result, [part.load() for part in work.parts(CUSTOMERS)]


def extract_file(content: str | bytes, volume: Path, **settings: Any) -> pd.DataFrame:
    """Run the stage on one file; returns all customers."""
    (volume / "data").mkdir(exist_ok=True)
    (volume / "data/file.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return pd.concat(extract(volume, **settings)[1], ignore_index=True)
