"""Sections of the benchmark: each runs its contestants in turns and returns the runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from bench.measuring import REPOSITORY, Run, alternate, run
from services.contract import artifacts
from services.pipeline import PIPELINE
from stagekit.volume.upstream import UpstreamResults

LAB_STAGES = ("extract", "transform", "train", "evaluate")
Contest = Callable[[], Mapping[str, Run]]
LAB_DATA = REPOSITORY / "shared_volume/data"
PANDAS = """
import sys, pandas
customers = pandas.read_csv(sys.argv[1] + "/data/file.csv").drop_duplicates(subset=["CUST_ID"], keep="last")
"""
WITHOUT_ESTIMATES = """
from services.evaluate import candidates, stability

candidates.assess = lambda candidate, *_, **__: candidate
candidates.bootstrap_stability = lambda features, labels, k, **_: stability.Stability((1.0,) * k, (0.0,) * k, 1.0, 0.0)
import services.evaluate.__main__
"""
"""evaluate with constants instead of bootstrap resamples and null models; no setting of the stage does without them."""


class Sweeps(NamedTuple):
    """One dataset, swept by the lab's recipe and by the sample strategy."""

    family: str
    n_features: int
    seed: int
    literal_s: float
    sample_s: float
    ratios: list[float]
    """SSE of the sample strategy divided by that of the lab, for each k."""


def prepare(folder: Path, n_rows: int | None) -> Path:
    """Create a volume with a table of `n_rows` rows if it does not exist; None: with the project's sample data."""
    if folder.exists():
        return folder
    (folder / "data").mkdir(parents=True)
    shutil.copy(LAB_DATA / "test.csv", folder / "data/test.csv")
    if n_rows is None:
        shutil.copy(LAB_DATA / "file.csv", folder / "data/file.csv")
    else:
        # In a separate process: a child's peak memory includes that of the process that started it.
        run(["-m", "bench.populations", str(folder / "data/file.csv"), str(n_rows), "1"])
    return folder


def measure_stages(volume: Path, runs: int) -> dict[str, dict[str, list[Run]]]:
    """Run the lab's four functions as four processes and as one, and the pipeline's four stages."""
    contestants: dict[str, Contest] = {
        "literal": partial(_literal, volume),
        "pipeline": lambda: {stage: _stage(volume, stage) for stage in LAB_STAGES},
        "literal, one process": lambda: {"all": run(["-m", "bench.literal", "all", str(volume)])},
    }
    return alternate(contestants, runs)


def _literal(volume: Path) -> Mapping[str, Run]:
    runs, source = {}, None
    for stage in LAB_STAGES:
        target = volume / f"xcom-{stage}"
        runs[stage] = run(["-m", "bench.literal", stage, str(volume)], source=source, target=target)
        source = target
    return runs


def _stage(volume: Path, stage: str, *arguments: str) -> Run:
    return run(["-m", f"services.{stage}", "--volume", str(volume), "--run", "bench", *arguments])


def measure_reading(volume: Path, runs: int) -> dict[str, dict[str, list[Run]]]:
    """Read a table and drop duplicates: pandas does only that, the stage also validates and writes."""
    contestants: dict[str, Contest] = {
        "pandas.read_csv and drop_duplicates, nothing written": lambda: {"extract": run(["-c", PANDAS, str(volume)])},
        "extract": lambda: {"extract": _stage(volume, "extract")},
        "extract, with `keep_columns=used`": lambda: {"extract": _stage(volume, "extract", "--keep-columns", "used")},
    }
    return alternate(contestants, runs)


def measure_starts(runs: int) -> dict[str, dict[str, list[Run]]]:
    """Import pandas, and print the help of each stage."""
    contestants: dict[str, Contest] = {"import pandas": lambda: {"start": run(["-c", "import pandas"])}}
    for stage in LAB_STAGES:
        contestants[f"{stage} --help"] = partial(_start, stage)
    return alternate(contestants, runs)


def _start(stage: str) -> Mapping[str, Run]:
    return {"start": run(["-m", f"services.{stage}", "--help"])}


def measure_whole(volume: Path, runs: int) -> dict[str, Any]:
    """Run all six stages, evaluate without its estimates, and an expert's script on the same table, in turns.

    Returns
    -------
    dict
        `runs`: the runs of both by stage; `sse`: for each k the script's SSE on all customers divided by the pipeline's.
    """
    target = volume / "expert.json"
    contestants: dict[str, Contest] = {
        "expert": lambda: {"script": run(["-m", "bench.expert", str(volume)], target=target)},
        "pipeline": lambda: {stage: _stage(volume, stage) for stage in PIPELINE.stage_names},
        "without estimates": lambda: {"evaluate": run(["-c", WITHOUT_ESTIMATES, "--volume", str(volume), "--run", "bench"])},
    }
    measured = alternate(contestants, runs)
    return {"runs": measured, "sse": _compare_sse(volume, json.loads(target.read_text()))}


def _compare_sse(volume: Path, expert: Mapping[str, Any]) -> dict[str, float]:
    results = UpstreamResults(volume, "bench", {})
    parts = [part.load() for part in results.parts(artifacts.FEATURES)]
    metrics = results.load(artifacts.METRICS)
    scaler = parts[0]["preparation"].pipeline[-1]
    sse = dict.fromkeys(metrics["k_values"], 0.0)
    for k in sse:
        centroids = np.array(expert["centroids"][str(k)]) * expert["scale"] + expert["mean"]
        model = KMeans(k, init=(centroids - scaler.mean_) / scaler.scale_, n_init=1, max_iter=1)
        model.fit(model.init)  # one point per centroid, so the centroids do not move
        sse[k] = -sum(model.score(part["scaled"]) for part in parts)
    return {str(k): sse[k] / ours for k, ours in zip(sse, metrics["sse"], strict=True)}


def measure_sweeps(families: Sequence[str], n_customers: int, seeds: int, folder: Path) -> Iterator[Sweeps]:
    """Sweep datasets of these families with 3 and 8 features, with the lab's recipe and the sample strategy in turns."""
    for seed in range(1, seeds + 1):
        for n_features in (3, 8):
            for family in families:
                results = {}
                for how in ("literal", "sample"):
                    target = folder / f"{how}.json"
                    arguments = [how, family, str(n_customers), str(n_features), str(seed)]
                    run(["-m", "bench.sweeps", *arguments], target=target)
                    results[how] = json.loads(target.read_text())
                ratios = [one / other for one, other in zip(results["sample"]["sse"], results["literal"]["sse"], strict=True)]
                yield Sweeps(family, n_features, seed, results["literal"]["seconds"], results["sample"]["seconds"], ratios)
