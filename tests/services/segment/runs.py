"""Runs on a volume, up to where segment comes in: what the stages before it write, made in view."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from services.contract import artifacts
from services.contract.results import Candidate, Evaluation
from services.contract.segment_registry import SegmentRegistry
from services.contract.settings import ScoreSettings, SegmentSettings
from services.pipeline import PIPELINE
from services.segment import main, score
from services.segment.assignment import Assignment
from services.segment.part_tasks import CustomerPart
from services.transform.features import fit_preparation
from stagekit.volume.artifact import Artifact
from stagekit.volume.manifest import Manifest
from stagekit.volume.model_store import ModelStore
from stagekit.volume.runs import run_folder
from stagekit.volume.workspace import Workspace
from stagekit.workers.worker_pool import PersistedParts, worker_pool

FEATURES = ("BALANCE", "PURCHASES", "CREDIT_LIMIT")
CENTRES = {"savers": (100, 100, 1000), "borrowers": (5000, 200, 6000), "buyers": (900, 7000, 9000), "rich": (9000, 9000, 20000)}


def group(name: str, count: int, seed: int = 0, prefix: str = "") -> pd.DataFrame:
    """Make `count` customers around one of the CENTRES."""
    values = np.random.default_rng([seed, len(name), count]).normal(
        CENTRES[name], np.array(CENTRES[name]) * 0.05 + 20, (count, 3)
    )
    frame = pd.DataFrame(values.round(2).clip(0), columns=list(FEATURES))
    frame.insert(0, "CUST_ID", pd.Series([f"{prefix or name}-{number}" for number in range(count)], dtype="str"))
    return frame


def table(*groups: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(groups, ignore_index=True)


def commit(work: Workspace) -> None:
    now = datetime.now(UTC)
    outputs = tuple(work.outputs)
    empty = {"settings": {}, "setting_sources": {}, "result": None, "image": None, "versions": {}, "exit_reason": "done"}
    work.commit(Manifest(run=work.run, stage=work.stage, inputs=(), outputs=outputs, started=now, ended=now, **empty))


def save(volume: Path, run: str, artifact: Artifact, value: Any) -> None:
    with Workspace(PIPELINE, artifact.stage, volume, run) as work:
        work.save(artifact, value)
        commit(work)


def prepare(
    volume: Path,
    run: str,
    customers: pd.DataFrame,
    k: int,
    *,
    seed: int = 7,
    **changes: Any,
) -> KMeans:
    """Write what extract, transform, train and evaluate would have written; returns the model of the chosen k.

    `changes` are fields of the `Candidate` of that k and arguments of `fit_preparation`.
    """
    assessed = {name: changes.pop(name) for name in Candidate.model_fields if name in changes}
    fitted = fit_preparation(customers, changes.pop("features", FEATURES), **changes)
    scaled = fitted.transform(customers[fitted.fits(customers)])
    model = KMeans(k, n_init=10, random_state=seed).fit(scaled)
    candidate = Candidate(
        k=k,
        sse=model.inertia_,
        silhouette=0.6,
        davies_bouldin=1.0,
        calinski_harabasz=1.0,
        smallest_share=0.1,
        **{"jaccard": (0.9,) * k, "ari": 0.9, "failed_checks": (), **assessed},
    )
    evaluation = Evaluation(
        elbow=k,
        chosen_k=k,
        rule="elbow",
        reason="the SSE curve has its elbow there",
        customers=len(scaled),
        silhouette_customers=len(scaled),
        stability_customers=len(scaled),
        resamples=20,
        candidates=(candidate,),
        lab_k=k,
        new_customers=(),
    )
    save(volume, run, artifacts.CUSTOMERS, customers)
    save(volume, run, artifacts.FEATURES, {"scaled": scaled, "preparation": fitted})
    with Workspace(PIPELINE, "train", volume, run) as work:
        work.save(artifacts.SWEEP, {k: model})
        work.save(artifacts.MODEL, model)
        commit(work)
    save(volume, run, artifacts.EVALUATION, evaluation.model_dump(mode="json"))
    return model


@contextmanager
def assigned_parts(frames: Sequence[pd.DataFrame], clusters: Sequence[Any]) -> Iterator[PersistedParts]:
    """Provide parts of customers who are in these clusters, each at its centroid."""
    parts = []
    for frame, cluster in zip(frames, clusters, strict=True):
        nearest = np.asarray(cluster, dtype=np.int16)
        zeros = np.zeros(len(frame))
        parts.append(CustomerPart(frame.reset_index(drop=True), None, Assignment(nearest, nearest, zeros, zeros + 1)))
    with worker_pool() as pool:
        yield pool.persist(lambda part: part, parts)


def segment(volume: Path, run: str, **settings: Any) -> dict[str, Any]:
    """Run the stage; returns segmentation.json."""
    with Workspace(PIPELINE, "segment", volume, run) as work:
        result = main.main(SegmentSettings(volume=volume, run=run, **settings), work)
        commit(work)
    assert len(json.dumps(result)) < 1000
    return read_json(volume, run)


def make_run(volume: Path, run: str, customers: pd.DataFrame, k: int, **arguments: Any) -> dict[str, Any]:
    """Prepare a run and segment it; returns segmentation.json."""
    prepare(volume, run, customers, k, **arguments)
    return segment(volume, run)


def make_scores(volume: Path, customers: pd.DataFrame, name: str = "new") -> list[dict[str, str]]:
    """Write a file of customers and score it; returns the rows."""
    (volume / "data").mkdir(exist_ok=True)
    customers.to_csv(volume / f"data/{name}.csv", index=False)
    with Workspace(PIPELINE, "score", volume, name) as work:
        score.main(ScoreSettings(volume=volume, score=f"data/{name}.csv"), work)
        commit(work)
    return read_csv(volume / f"scores/{name}/segments.csv")


def start(volume: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the stage as a process."""
    command = [sys.executable, "-m", "services.segment", "--volume", str(volume), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; returns exit code, output and the last line that it logged."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err.splitlines()[-1]


def folder(volume: Path, run: str) -> Path:
    return volume / "runs" / run_folder(run) / "segment"


def read_json(volume: Path, run: str) -> dict[str, Any]:
    return json.loads((folder(volume, run) / "segmentation.json").read_text())


def read_rows(volume: Path, run: str, name: str = "segments.csv") -> list[dict[str, str]]:
    return read_csv(folder(volume, run) / name)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_register(volume: Path) -> SegmentRegistry:
    return ModelStore(volume, PIPELINE).read_registry()


def read_published(volume: Path) -> list[dict[str, str]]:
    """Read segments.csv of the active run."""
    register = read_register(volume)
    publication = register.entry(register.active_run).publication
    return read_csv(volume / "model/published" / publication.folder / "segments.csv")


def members(rows: list[dict[str, str]], column: str = "segment_id") -> dict[str, str]:
    return {row["CUST_ID"]: row[column] for row in rows}


def kept_share(volume: Path, run: str) -> float:
    """Share of the customers with a segment in both runs who are in the same one."""
    comparison = read_json(volume, run)["comparison"]
    return comparison["same_segment"] / comparison["common_customers"]
