"""Compare the DAG on a Dask cluster with the DAG on one machine, on the same generated customers: `make cluster-demo`.

Starts a separate stack and removes it afterwards. Prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.measuring import REPOSITORY
from bench.populations import write_table
from bench.sections import LAB_DATA
from services.pipeline import PIPELINE
from stagekit.volume.manifest import Manifest

FILES = 20
PROJECT = "customer-segmentation-demo"
SCHEDULER = "tcp://dask-scheduler:8786"
SEED = 7


class StageRun(NamedTuple):
    """Time and memory of a stage, from its manifest."""

    seconds: float
    peak_mib: int


class DagRun(NamedTuple):
    """One run of the DAG."""

    seconds: float
    stages: dict[str, StageRun]
    sse: list[float]
    segments: pd.DataFrame
    """CUST_ID and segment_id of every customer; 0 for those without a segment."""


def main() -> None:
    """Run the DAG on the cluster and on one machine, and print the comparison."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="cluster-demo-", dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the stages run as another user
        volume = folder / "volume"
        _print(f"generating {options.customers:,} customers in {FILES} files")
        write_customers(volume, options.customers)
        with stack(folder, volume, options.workers) as variables:
            settings = {"data_file": "data/customers", "rows_per_part": options.rows_per_part, "strategy": "sample"}
            _print(f"the DAG on {options.workers} Dask workers")
            cluster = run_dag(variables, volume, {**settings, "dask_scheduler": SCHEDULER})
            workers = worker_peaks_mib()
            for published in (volume / "model").iterdir():  # the second run must not continue the segments of the first
                shutil.rmtree(published) if published.is_dir() else published.unlink()
            _print("the DAG on one machine")
            alone = run_dag(variables, volume, settings)
    print("\n".join(describe(cluster, workers, alone)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000_000, help="rows of the table; one in fifty is a duplicate")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows-per-part", type=int, default=250_000)
    parser.add_argument("--folder", help="folder for the volume; 5 million customers need 5 GB")
    return parser.parse_args()


def write_customers(volume: Path, n_rows: int) -> None:
    """Create a volume with one table in several files."""
    (volume / "data/customers").mkdir(parents=True)
    shutil.copy(LAB_DATA / "test.csv", volume / "data")
    ends = np.linspace(0, n_rows, FILES + 1).astype(int).tolist()
    with ProcessPoolExecutor() as pool:
        written = [
            pool.submit(write_table, volume / f"data/customers/{number:02}.csv", end - begin, SEED, begin)
            for number, (begin, end) in enumerate(pairwise(ends))
        ]
        for one in written:
            one.result()


@contextmanager
def stack(folder: Path, volume: Path, workers: int) -> Iterator[dict[str, str]]:
    """Start the compose profile `cluster`; yields the variables of make that identify the stack."""
    variables = {"ENV_FILE": f"{folder}/.env", "VOLUME": str(volume), "COMPOSE_PROJECT_NAME": PROJECT}
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"AIRFLOW_PORT": str(one.getsockname()[1]), "DASK_PORT": str(other.getsockname()[1])}
    variables |= ports | {"COMPOSE_PROFILES": "cluster", "DASK_WORKERS": str(workers)}
    try:
        _make("up", variables)
        _print(f"the scheduler's page: http://127.0.0.1:{ports['DASK_PORT']}")
        yield variables
    finally:
        _make("down", variables)
        volumes = [f"{PROJECT}_{name}" for name in ("database", "logs")]
        subprocess.run(["docker", "volume", "rm", "--force", *volumes], check=True, capture_output=True)


def run_dag(variables: Mapping[str, str], volume: Path, conf: Mapping[str, object]) -> DagRun:
    """Run the DAG to its end, including the DAG of segment changes."""
    before = set((volume / "runs").glob("manual*"))
    _make("trigger", {**variables, "CONF": json.dumps(conf)})
    (run,) = set((volume / "runs").glob("manual*")) - before
    for _ in range(100):  # the DAG of segment changes must not run beside the next run
        if (run / "changes/manifest.json").exists():
            break
        time.sleep(1)
    manifests = [Manifest.model_validate_json((run / stage / "manifest.json").read_bytes()) for stage in PIPELINE.stage_names]
    stages = {one.stage: StageRun((one.ended - one.started).total_seconds(), one.peak_memory_mib or 0) for one in manifests}
    seconds = (manifests[-1].ended - manifests[0].started).total_seconds()
    tables = sorted((run / "segment").glob("segments/*.csv")) or [run / "segment/segments.csv"]
    segments = pd.concat([pd.read_csv(table, usecols=["CUST_ID", "segment_id"]) for table in tables]).fillna({"segment_id": 0})
    return DagRun(seconds, stages, json.loads((run / "train/metrics.json").read_text())["sse"], segments)


def worker_peaks_mib() -> list[int]:
    """Return the peak memory of each worker together with its supervising process."""
    labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": "dask-worker"}
    filters = [f"--filter=label={name}={value}" for name, value in labels.items()]
    peaks = []
    for worker in _output("docker", "ps", "--quiet", *filters).split():
        lines = _output("docker", "exec", worker, "sh", "-c", "grep -h VmHWM /proc/[0-9]*/status").splitlines()
        peaks.append(round(sum(int(line.split()[1]) for line in lines) / 1024))
    return peaks


def describe(cluster: DagRun, workers: Sequence[int], alone: DagRun) -> Iterator[str]:
    """Compare both runs in a Markdown table."""
    yield f"\n| stage | {len(workers)} workers: s | MiB in the stage | one machine: s | MiB in one process |"
    yield "|---|---:|---:|---:|---:|"
    for stage, one in alone.stages.items():
        there = cluster.stages[stage]
        yield f"| {stage} | {there.seconds:.1f} | {there.peak_mib} | {one.seconds:.1f} | {one.peak_mib} |"
    yield f"| first to last | {cluster.seconds:.1f} | | {alone.seconds:.1f} | |"
    yield f"\nPeak memory of the workers: {', '.join(map(str, workers))} MiB."
    both = cluster.segments.merge(alone.segments, on="CUST_ID", how="outer")
    same = (both["segment_id_x"] == both["segment_id_y"]).mean()
    sse = max(abs(one - other) / other for one, other in zip(cluster.sse, alone.sse, strict=True))
    yield f"{len(both):,} customers: {same:.4%} in the same segment; maximum relative difference of the SSE {sse:.1e}."


def _make(target: str, variables: Mapping[str, str]) -> None:
    # The flags of an outer make are not for this one.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    assignments = [f"{name}={value}" for name, value in variables.items()]
    subprocess.run(
        ["make", target, f"TAG={os.environ.get('TAG', 'latest')}", *assignments], cwd=REPOSITORY, env=environment, check=True
    )


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _print(text: str) -> None:
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    main()
