"""Measure the accuracy of stability and cluster structure, and write docs/trust.md: see `--help`, and `make trust`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from bench import families
from bench.families import Family
from bench.measuring import REPOSITORY
from bench.page import markdown_table
from services.contract.settings import EvaluateSettings
from services.evaluate.elbow import find_elbow
from services.evaluate.structure import MIN_DEVIATIONS, MIN_FEATURE_DIP, MIN_RATIO, MIN_SEPARATION, N_DRAWS, assess_structure
from stagekit.volume.files import atomic_write

FEATURES = ("BALANCE", "PURCHASES", "CREDIT_LIMIT")
K_VALUES = range(2, 11)
SAMPLE = REPOSITORY / "shared_volume/data/file.csv"
SECTIONS = ("stability", "real", "structureless", "planted", "detection")

# The reference for the stability of clusters, from R 4 and its package fpc; x are the standardised features of the lab's table.
R_COMMAND = 'clusterboot(x, B=100, bootmethod="boot", clustermethod=kmeansCBI, krange=k, runs=10, count=FALSE, seed=s)'
CLUSTERBOOT_SIZES = {
    3: (143, 1783, 7023),
    5: (24, 362, 983, 1855, 5725),
    8: (22, 145, 385, 401, 622, 1125, 1549, 4700),
}
CLUSTERBOOT = {
    3: ((0.738, 0.926, 0.983), (0.757, 0.948, 0.989)),
    5: ((0.842, 0.792, 0.831, 0.865, 0.976), (0.814, 0.760, 0.809, 0.855, 0.975)),
    8: (
        (0.962, 0.813, 0.879, 0.855, 0.776, 0.845, 0.836, 0.941),
        (0.962, 0.795, 0.869, 0.867, 0.758, 0.834, 0.836, 0.935),
    ),
}
"""Mean Jaccard similarities for seeds 1 and 2, segments by size."""
MIN_STABILITY = EvaluateSettings.model_fields["min_stability"].default
RESAMPLES = EvaluateSettings.model_fields["n_resamples"].default

Entry = dict[str, Any]
Task = tuple[str, int, Callable[[], Entry]]
"""Name and seed of a measurement, and the function that makes it."""


def detection() -> dict[str, Family]:
    """Name the families that show from which distance, and from which size, groups are detected."""
    found: dict[str, Family] = {
        f"three overlapping groups, {apart} sd apart": partial(families.overlapping, apart) for apart in (2, 2.5, 3, 3.5, 4, 5)
    }
    for share in (0.1, 0.05, 0.02, 0.01):
        for apart in (4, 6, 9):
            found[f"a group of {share:.0%}, {apart} sd from the others"] = partial(families.small_group, share, apart)
    found["log-normal groups, with zeros"] = partial(families.with_zeros, families.lognormal_mixture)
    found["separate normal groups, rounded to 0.25 sd"] = partial(families.rounded, families.separate_normal)
    return found


def main(arguments: list[str]) -> None:
    """Make the measurements, and write the page and the results."""
    options = _parse(arguments)
    docs = Path(options.docs)
    kept = docs / "trust.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes: one core each
    # Not forked: OpenMP, which this process uses to prepare the tasks, hangs in a child that inherits its threads.
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for section in options.sections:
            tasks = list(_list_tasks(section, options))
            if not tasks:
                print(f"{section}: left out, it needs the lab's data (--lab-data)", file=sys.stderr)
                continue
            entries: list[Entry] = results.get(section, {}).get("entries", []) if options.resume else []
            known = {(entry["name"], entry["seed"]) for entry in entries}
            for batch in _batches([task for task in tasks if task[:2] not in known], 4 * options.jobs):
                found = pool.map(_call, [measure for _, _, measure in batch])
                entries += [{"name": name, "seed": seed, **entry} for (name, seed, _), entry in zip(batch, found, strict=True)]
                print(f"{section}: {len(entries)} of {len(tasks)}", file=sys.stderr, flush=True)
                results[section] = _describe_run(section, options) | {"entries": entries}
                text = json.dumps(results, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n"
                atomic_write(kept, text.encode())  # an interrupted run keeps the previous measurements
    (docs / "trust.md").write_text(describe(results))


def _describe_run(section: str, options: argparse.Namespace) -> dict[str, Any]:
    arguments = ["--sections", section, "--datasets", options.datasets, "--customers", options.customers]
    arguments += ["--lab-data", options.lab_data.name] if options.lab_data else []
    return {
        "command": f'make trust ARGS="{" ".join(map(str, arguments))}"',
        "columns": "the lab's table" if options.lab_data else "the sample data",
        "customers": options.customers,
        "machine": f"Python {platform.python_version()} and scikit-learn {sklearn.__version__}",
    }


def _batches(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    return (tasks[begin : begin + size] for begin in range(0, len(tasks), size))


def _call(measure: Callable[[], Entry]) -> Entry:
    return measure()


def _list_tasks(section: str, options: argparse.Namespace) -> Iterator[Task]:
    lab = _read_features(options.lab_data) if options.lab_data else None
    seeds = range(options.datasets)
    if section == "stability":
        if lab is not None:
            for k in sorted(CLUSTERBOOT):
                labels = KMeans(k, n_init=10, random_state=7).fit_predict(families.standardise(lab))
                for seed in seeds:
                    yield f"k = {k}", seed, partial(_measure_stability, families.standardise(lab), labels, k, seed)
        return
    if section == "real":
        for name, table in (("the lab's table", lab), ("the sample data", _read_features(SAMPLE))):
            if table is not None:
                features = families.standardise(table)
                k = find_k(features)
                for seed in seeds:
                    yield name, seed, partial(_measure_structure, features, k, seed)
        return
    columns = lab if lab is not None else _read_features(SAMPLE)
    named = {"structureless": families.structureless(columns), "planted": families.PLANTED, "detection": detection()}[section]
    for seed in seeds:
        for name, family in named.items():
            yield name, seed, partial(_measure_family, family, options.customers, seed)


def find_k(features: NDArray[np.float64]) -> int:
    """Find the elbow of the SSE curve over k = 2..10, as the pipeline does; without one, the best mean silhouette."""
    models = [KMeans(k, n_init=10, random_state=7).fit(features) for k in K_VALUES]
    elbow = find_elbow(list(K_VALUES), [float(model.inertia_) for model in models])
    if elbow is not None:
        return elbow
    best = max(models, key=lambda model: silhouette_score(features, model.labels_, sample_size=1_000, random_state=7))
    return int(best.n_clusters)


def _measure_family(family: Family, n_customers: int, seed: int) -> Entry:
    features = families.draw(family, n_customers, seed)
    return _measure_structure(features, find_k(features), seed)


def _measure_structure(features: NDArray[np.float64], k: int, seed: int) -> Entry:
    structure = assess_structure(features, k, seed=seed)
    entry = {
        "k": k,
        "separation": structure.separation.observed,
        "null_mean": structure.separation.null_mean,
        "null_sd": structure.separation.null_sd,
        "p_value": structure.separation.p_value,
        "effect": structure.separation.effect,
        "silhouette_effect": structure.silhouette.effect,
        "feature_dip": max(
            [feature.dip for feature in structure.feature_dips if feature.dip >= MIN_RATIO * feature.null_mean], default=0
        ),
    }
    return {name: round(value, 4) for name, value in entry.items()} | {"is_structured": structure.is_structured}


def _measure_stability(features: NDArray[np.float64], labels: NDArray[np.int32], k: int, seed: int) -> Entry:
    from services.evaluate.stability import bootstrap_stability

    stability = bootstrap_stability(features, labels, k, n_resamples=RESAMPLES, seed=seed)
    sizes = np.bincount(labels, minlength=k)
    order = np.argsort(sizes)
    return {
        "sizes": sizes[order].tolist(),
        "jaccard": np.round(stability.jaccard, 4)[order].tolist(),
        "standard_errors": np.round(stability.jaccard_se, 4)[order].tolist(),
        "ari": round(stability.ari, 4),
    }


def _read_features(path: Path) -> NDArray[np.float64]:
    import pandas as pd

    table: NDArray[np.float64] = pd.read_csv(path)[list(FEATURES)].dropna().to_numpy(dtype=np.float64)
    return table


def describe(results: Mapping[str, Any]) -> str:
    """Return the text of the page; sections that were not measured are omitted."""
    parts = [
        "# Accuracy of stability and cluster structure\n",
        "Generated by `make trust`; every figure is measured.\n"
        "[Decision 12](decisions/0012-cluster-structure.md) describes the structure test, "
        "[decision 7](decisions/0007-choice-of-k.md) the stability.\n",
    ]
    for section, title, describe_section in (
        ("stability", "Stability next to its reference", _describe_stability),
        ("real", "Cluster structure of real tables", _describe_real),
        ("structureless", "Populations without groups", _describe_structureless),
        ("planted", "Populations with separate groups", _describe_planted),
        ("detection", "Detection limits", _describe_detection),
    ):
        if section in results:
            parts += [f"## {title}\n", describe_section(results[section])]
            parts.append(f"Measured by `{results[section]['command']}` on {results[section]['machine']}.\n")
    return "\n".join(parts)


def _describe_stability(section: Mapping[str, Any]) -> str:
    text = (
        f"Mean Jaccard similarity of each segment over {RESAMPLES} bootstrap resamples (Hennig 2007), on the lab's table;\n"
        "segments by size, ascending. The labels are those of scikit-learn's K-Means (n_init=10, random_state=7), which\n"
        f"differ a little from R's. The reference is R 4, package `fpc`: `{R_COMMAND}`.\n"
    )
    columns = ("k", "customers", "in R", "R, seed 1", "R, seed 2", "mean", "sd over seeds", "largest difference from R's mean")
    gate = ("k", "seeds", "weakest segment", f"at least {MIN_STABILITY:g}, the gate's minimum")
    entries = section["entries"]
    return "\n".join([text, markdown_table([columns, *_stability_rows(entries)]), markdown_table([gate, *_gate_rows(entries)])])


def _stability_rows(entries: Sequence[Entry]) -> Iterator[tuple[object, ...]]:
    for name, group in _by_name(entries):
        k = int(name.removeprefix("k = "))
        first, second = CLUSTERBOOT[k]
        for at, values in enumerate(zip(*(entry["jaccard"] for entry in group), strict=True)):
            reference = (first[at] + second[at]) / 2
            distance = max(abs(value - reference) for value in values)
            size, size_in_r = group[0]["sizes"][at], CLUSTERBOOT_SIZES[k][at]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            yield (
                k,
                f"{size:,}",
                f"{size_in_r:,}",
                *(f"{value:.3f}" for value in (first[at], second[at], mean, spread, distance)),
            )


def _gate_rows(entries: Sequence[Entry]) -> Iterator[tuple[object, ...]]:
    for name, group in _by_name(entries):
        weakest = [min(entry["jaccard"]) for entry in group]
        passed = sum(value >= MIN_STABILITY for value in weakest)
        yield (
            name.removeprefix("k = "),
            _list_seeds(group),
            f"{min(weakest):.3f} to {max(weakest):.3f}",
            f"{passed} of {len(group)}",
        )


def _describe_real(section: Mapping[str, Any]) -> str:
    return (
        f"k is the elbow of the SSE curve over k = {K_VALUES[0]}..{K_VALUES[-1]}, or, without an elbow, the k with the\n"
        "largest silhouette.\n"
        f"Groups are separate if the separation is at least {MIN_SEPARATION:g}, at least {MIN_RATIO:g} times the mean of\n"
        f"{N_DRAWS} draws of the null model, and at least {MIN_DEVIATIONS:g} of their standard deviations above it; or if\n"
        f"a feature has a dip of at least {MIN_FEATURE_DIP:g} and {MIN_RATIO:g} times that of the null model. The last column\n"
        f"is the largest dip that is {MIN_RATIO:g} times that of the null model, or 0.\n\n"
        + _describe_populations("table", section["entries"])
    )


def _describe_structureless(section: Mapping[str, Any]) -> str:
    return (
        f"{section['customers']:,} customers each, k as above. The real columns are those of {section['columns']}.\n"
        "Here, finding separate groups is an error.\n\n"
        + _describe_populations("population", section["entries"])
        + f"\nAll together: {_count(section['entries'])}.\n"
    )


def _describe_planted(section: Mapping[str, Any]) -> str:
    return (
        f"{section['customers']:,} customers each, k as above. Groups are at least {families.BETWEEN:g} standard\n"
        "deviations of one of them apart. Here, finding separate groups is correct.\n\n"
        + _describe_populations("population", section["entries"])
        + f"\nAll together: {_count(section['entries'])}.\n"
    )


def _describe_detection(section: Mapping[str, Any]) -> str:
    return (
        f"{section['customers']:,} customers each, k as above. Distances are in standard deviations of the large groups;\n"
        "a small group is half as wide as the others.\n\n" + _describe_populations("population", section["entries"])
    )


STRUCTURE_COLUMNS = (
    "seeds",
    "k",
    "separate groups",
    "separation / null mean",
    "deviations above it",
    "dip of a feature",
)


def _describe_populations(heading: str, entries: Sequence[Entry]) -> str:
    rows = [_structure_row(name, group) for name, group in _by_name(entries)]
    return markdown_table([(heading, *STRUCTURE_COLUMNS), *rows])


def _structure_row(name: str, group: Sequence[Entry]) -> tuple[object, ...]:
    ratios = [entry["effect"] for entry in group]
    deviations = [(entry["separation"] - entry["null_mean"]) / max(entry["null_sd"], 1e-4) for entry in group]
    k_values = sorted({entry["k"] for entry in group})
    return (
        name,
        _list_seeds(group),
        ", ".join(map(str, k_values)),
        _count(group),
        _summarise(ratios),
        _summarise(deviations),
        _summarise([entry["feature_dip"] for entry in group], digits=3),
    )


def _summarise(values: Sequence[float], digits: int = 1) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    least, median, most = min(values), statistics.median(values), max(values)
    return f"{least:.{digits}f} to {most:.{digits}f}, median {median:.{digits}f}"


def _by_name(entries: Sequence[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    """Group the entries by name, in the order in which each name comes first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry["name"], []).append(entry)
    return groups.items()


def _count(entries: Sequence[Entry]) -> str:
    return f"{sum(entry['is_structured'] for entry in entries)} of {len(entries)}"


def _list_seeds(entries: Sequence[Entry]) -> str:
    seeds = [entry["seed"] for entry in entries]
    return f"{min(seeds)}-{max(seeds)}" if len(seeds) > 1 else str(seeds[0])


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trust", description=__doc__)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=SECTIONS, help=f"some of {','.join(SECTIONS)}")
    parser.add_argument(
        "--lab-data", type=Path, help="file.csv of the lab; without it, the section stability and the lab's row are left out"
    )
    parser.add_argument("--datasets", type=int, default=20, help="seeds 0 to this - 1 of each family and table")
    parser.add_argument("--customers", type=int, default=4_000, help="of each family")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run has measured")
    parser.add_argument("--docs", default=REPOSITORY / "docs", help="folder for the page and the results")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: expected some of {', '.join(SECTIONS)}")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
