"""Write what was measured as a page with a table for each section, and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measuring import Run, median, total

Runs = Mapping[str, Mapping[str, Sequence[Run]]]


def describe(results: Mapping[str, Any], notes: str) -> str:
    """Make the page; a section that was not measured is not there."""
    parts = [
        "# Performance\n",
        "Written by `make bench`; every figure is measured. The literal lab (`bench/literal.py`) and the pipeline take turns\n"
        "on the same data. A time is the median of the runs, with the shortest and longest in brackets; memory is the most\n"
        "that a process and its children held together. Above 1.00x the pipeline takes more than the lab.\n",
        f"Measured by {_list_commands(results['commands'])}. The machine: {results['machine']}.\n",
    ]
    for size, runs in results.get("stages", {}).items():
        parts += [f"## The lab's four stages, {size}\n", _stages(runs)]
    if "stages" in results:
        parts.append("![Time of the four stages by the number of customers](pictures/performance.png)\n")
    for size, runs in results.get("reading", {}).items():
        parts += [f"## Reading {size}\n", _reading(runs)]
    for size, whole in results.get("whole", {}).items():
        parts += [f"## The whole pipeline beside an expert's script, {size}\n", _whole(whole)]
    if "alone" in results:
        parts += ["## The pipeline alone\n", _alone(results["alone"])]
    if "sweeps" in results:
        parts += ["## The sweep from a sample\n", _sweeps(results["sweeps"], results["sweep_customers"])]
    if "neighbour" in results:
        parts += [
            "## The exact sweep beside a busy neighbour\n",
            _neighbour(results["neighbour"], results["neighbour_customers"]),
        ]
    if "starts" in results:
        parts += ["## Starting\n", _starts(results["starts"])]
    if "airflow" in results:
        parts += ["## In Airflow\n", _airflow(results["airflow"]), _starts(results["parsing"])]
    if "images" in results:
        parts += ["## Images\n", _images(results["images"])]
    return "\n".join([*parts, notes])


def _list_commands(commands: Mapping[str, str]) -> str:
    return ", ".join(f"`{command}`" for command in dict.fromkeys(commands.values()))


def _stages(runs: Runs) -> str:
    rows: list[tuple[str, ...]] = [("stage", "lab, s", "lab, MiB", "pipeline, s", "pipeline, MiB", "time", "memory")]
    lab, ours = runs["literal"], runs["pipeline"]
    rows += [(stage, *_compare(lab[stage], ours[stage])) for stage in lab]
    together = [[total(one) for one in zip(*side.values(), strict=True)] for side in (lab, ours)]
    rows.append(("all four", *_compare(*together)))
    if one := runs.get("literal, one process"):
        rows.append(("the lab in one process", _spread(one["all"]), f"{median(one['all']).peak_mib:,.0f}", "", "", "", ""))
    return _table(rows)


def _compare(lab: Sequence[Run], ours: Sequence[Run]) -> tuple[str, ...]:
    one, other = median(lab), median(ours)
    return (
        _spread(lab),
        f"{one.peak_mib:,.0f}",
        _spread(ours),
        f"{other.peak_mib:,.0f}",
        f"{other.seconds / one.seconds:.2f}x",
        f"{other.peak_mib / one.peak_mib:.2f}x",
    )


def _reading(runs: Runs) -> str:
    pandas, *_ = found = {name: median(those["extract"]) for name, those in runs.items()}
    rows = [("what reads", "s", "MiB", "time", "memory")]
    rows += [
        (
            name,
            _spread(runs[name]["extract"]),
            f"{one.peak_mib:,.0f}",
            f"{one.seconds / found[pandas].seconds:.2f}x",
            f"{one.peak_mib / found[pandas].peak_mib:.2f}x",
        )
        for name, one in found.items()
    ]
    return _table(rows)


def _whole(whole: Mapping[str, Any]) -> str:
    script, stages = whole["runs"]["expert"]["script"], whole["runs"]["pipeline"]
    together = [total([Run(*one) for one in runs]) for runs in zip(*stages.values(), strict=True)]
    rows = [("what runs", "s", "MiB", "time", "memory"), ("the script (`bench/expert.py`)", *_of_first(script, script))]
    rows += [(stage, *_of_first(runs, script)) for stage, runs in stages.items()]
    rows.append(("all six stages", *_of_first(together, script)))
    sse = whole["sse"]
    worse = [100 * (ratio - 1) for ratio in sse.values()]
    return (
        f"{_table(rows)}\nThe script clusters a sample and validates nothing. Its SSE on all customers against the pipeline's, "
        f"over k = {', '.join(sse)}:\n{min(worse):+.3f} % at best, {statistics.median(worse):+.3f} % in the median, "
        f"{max(worse):+.3f} % at worst.\n"
    )


def _of_first(runs: Sequence[Run], first: Sequence[Run]) -> tuple[str, ...]:
    one, other = median([Run(*run) for run in runs]), median([Run(*run) for run in first])
    seconds, memory = one.seconds / other.seconds, one.peak_mib / other.peak_mib
    return _spread(runs), f"{one.peak_mib:,.0f}", f"{seconds:.2f}x", f"{memory:.2f}x"


def _alone(sizes: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    rows = [("stage", *(column for size in sizes for column in (f"{size}: s", "MiB")))]
    for stage in next(iter(sizes.values())):
        found = [runs[stage] for runs in sizes.values()]
        rows.append((stage, *(cell for runs in found for cell in (_spread(runs), f"{median(runs).peak_mib:,.0f}"))))
    return _table(rows)


def _sweeps(sweeps: Sequence[Mapping[str, Any]], n_customers: int) -> str:
    rows = [("customers", "features", "seed", "lab, s", "sample, s", "faster", "SSE, worst k", "SSE, median k", "SSE, best k")]
    rows += [
        (
            one["family"],
            str(one["n_features"]),
            str(one["seed"]),
            f"{one['literal_s']:.1f}",
            f"{one['sample_s']:.1f}",
            f"{one['literal_s'] / one['sample_s']:.1f}x",
            *(
                f"{100 * (value - 1):+.4f} %"
                for value in (max(one["ratios"]), statistics.median(one["ratios"]), min(one["ratios"]))
            ),
        )
        for one in sweeps
    ]
    faster = [one["literal_s"] / one["sample_s"] for one in sweeps]
    worst = max(max(one["ratios"]) for one in sweeps)
    above = sum(ratio > 1.001 for one in sweeps for ratio in one["ratios"])
    return (
        f"Nine k from 2 to 10 on {n_customers:,} customers. SSE is that of `--strategy sample` against the lab's recipe on\n"
        "the same data; below zero it found a better optimum.\n\n"
        f"Faster by {min(faster):.1f} to {max(faster):.1f} times, {statistics.median(faster):.1f} in the median. The worst SSE "
        f"of {9 * len(sweeps)} is {100 * (worst - 1):+.4f} %, {above} are above +0.1 %.\n\n{_table(rows)}"
    )


def _neighbour(runs: Runs, n_customers: int) -> str:
    rows = [("sweep", "idle, s", "beside a busy neighbour, s", "slower")]
    for how, found in runs.items():
        idle, busy = found["idle"], found["beside a busy neighbour"]
        rows.append((how, _spread(idle), _spread(busy), f"{median(busy).seconds / median(idle).seconds:.1f}x"))
    return f"{n_customers:,} customers, 3 features; the times include starting Python.\n\n{_table(rows)}"


def _starts(runs: Runs) -> str:
    first = median(next(iter(runs.values()))["start"]).seconds
    rows = [("a process of Python", "s", "of the first")]
    rows += [(name, _spread(found["start"]), f"{median(found['start']).seconds / first:.2f}x") for name, found in runs.items()]
    return _table(rows)


def _airflow(found: Mapping[str, Any]) -> str:
    lab, ours = found["lab's four stages"]["literal"], found["lab's four stages"]["pipeline"]
    rows = [("a run in Airflow, from the start of the first task", "s", "of the lab")]
    rows += [
        (name, _range(seconds), f"{statistics.median(seconds) / statistics.median(lab):.2f}x")
        for name, seconds in (
            ("four PythonOperators, base64 through XCom", lab),
            ("the pipeline, until the same four stages have ended", ours),
            ("the pipeline, all six stages", found["all six stages"]),
        )
    ]
    return (
        f"The sample data, {len(ours)} runs of each in turns, in one Airflow as `make up` starts it.\n\n{_table(rows)}\n"
        f"Between two tasks of the pipeline, from the end of one to the start of the next: {_range(found['gaps'])} s.\n"
    )


def _images(found: Mapping[str, Any]) -> str:
    rows = [("image", "MB", "layers from the base up, MB")]
    layers = {name: [(made, size) for made, size in those] for name, those in found["layers"].items()}
    for name, those in layers.items():
        sizes = [f"{size / 1e6:.1f}" for _, size in those]
        rows.append((name, f"{sum(size for _, size in those) / 1e6:.0f}", " + ".join(sizes)))
    lab = {layer for name in ("extract", "transform", "train", "evaluate") for layer in layers[name]}
    train = sum(size for _, size in layers["train"])
    return (
        f"Built from nothing, with what was downloaded before: {found['cold']:.0f} s. Again, with nothing changed: "
        f"{_range(found['warm'])} s.\n\n{_table(rows)}\nThe lab's four images share layers: together they are "
        f"{sum(size for _, size in lab) / 1e6:.0f} MB, {sum(size for _, size in lab) / train:.3f} times train alone.\n"
    )


def _range(seconds: Sequence[float]) -> str:
    spread = f" ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else ""
    return f"{statistics.median(seconds):.2f}{spread}"


def _spread(runs: Sequence[Run]) -> str:
    return _range([Run(*one).seconds for one in runs])  # what was kept as JSON comes as lists


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body, ""])


def draw_plot(stages: Mapping[str, Runs], sizes: Mapping[str, int], path: Path) -> None:
    """Draw the time of the four stages together, by the number of customers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, label, colour in (("literal", "the lab, four processes", "#b04a2f"), ("pipeline", "the pipeline", "#1f5f8b")):
        points = [
            (sizes[size], median([total(one) for one in zip(*runs[name].values(), strict=True)]).seconds)
            for size, runs in stages.items()
        ]
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=label, color=colour)
    axes.set(xlabel="customers", ylabel="seconds", title="The lab's four stages")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted("{x:g}")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
