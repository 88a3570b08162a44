"""Measure the pipeline and write docs/performance.md: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench import containers, page, sections
from bench.measuring import REPOSITORY
from bench.populations import FAMILIES

SIZES = {"sample": None, "10k": 10_000, "100k": 100_000, "1m": 1_000_000, "10m": 10_000_000}
RUNS = {"sample": 7, "10k": 7, "100k": 5, "1m": 3, "10m": 1}
TABLE_SECTIONS = {
    "stages": sections.measure_stages,
    "reading": sections.measure_reading,
    "whole": sections.measure_whole,
}
SECTIONS = (*TABLE_SECTIONS, "sweeps", "starts", "airflow", "images")


def main(arguments: list[str]) -> None:
    """Measure the selected sections and write page, plot and results; results of other sections are kept."""
    options = _parse(arguments)
    docs = Path(options.docs)
    docs.mkdir(exist_ok=True)
    kept = docs / "performance.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    results["machine"] = _describe_machine()
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for section in options.sections:
            for _ in _measure(section, results, options, Path(folder)):
                results["commands"] = results.get("commands", {}) | {section: command}
                kept.write_text(json.dumps(results, indent=1) + "\n")  # an interruption loses one measurement only
    if "stages" in results:
        sizes = {_title(size): n_rows or 9_000 for size, n_rows in SIZES.items()}
        (docs / "images").mkdir(exist_ok=True)
        page.draw_plot(results["stages"], sizes, docs / "images/performance.png")
    notes = docs / "performance-notes.md"
    (docs / "performance.md").write_text(page.describe(results, notes.read_text() if notes.is_file() else ""))


def _measure(section: str, results: dict[str, Any], options: argparse.Namespace, folder: Path) -> Iterator[None]:
    """Measure a section; yields after each addition to `results`."""
    match section:
        case "stages" | "reading" | "whole":
            for size in options.sizes:
                _print(f"{section}: {_title(size)}")
                volume = sections.prepare(folder / size, SIZES[size])
                results.setdefault(section, {})[_title(size)] = TABLE_SECTIONS[section](volume, options.runs or RUNS[size])
                yield
        case "sweeps":
            results["sweep_customers"], results["sweeps"] = options.customers, []
            for one in sections.measure_sweeps(options.families, options.customers, options.seeds, folder):
                speedup = one.literal_s / one.sample_s
                _print(f"{one.family}, {one.n_features} features, seed {one.seed}: {speedup:.1f}x, SSE {max(one.ratios):.6f}")
                results["sweeps"].append(one._asdict())
                yield
        case _ if not containers.is_engine_running():
            _print(f"{section}: omitted, because no Docker engine answers")
        case "starts":
            _print("start-up")
            results["starts"] = sections.measure_starts(options.runs or 9)
            yield
        case "airflow":
            _print("runs in Airflow and with docker run")
            results["airflow"] = containers.measure_airflow(folder, options.runs or 5)
            yield
        case "images":
            _print("building the images")
            results["images"] = containers.measure_images()
            yield


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=SECTIONS, help=f"some of {','.join(SECTIONS)}")
    parser.add_argument(
        "--sizes",
        type=lambda text: text.split(","),
        default=["sample", "10k", "100k", "1m"],
        help=f"some of {','.join(SIZES)}; with 10m, stages takes an hour, the other sections minutes",
    )
    parser.add_argument("--runs", type=int, help="runs of each contestant; by default 1 to 9, fewer if one run takes long")
    parser.add_argument(
        "--families", type=lambda text: text.split(","), default=list(FAMILIES), help="populations of the sweeps"
    )
    parser.add_argument("--customers", type=int, default=1_000_000, help="number of customers in the sweeps")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds in the sweeps")
    parser.add_argument("--folder", help="existing folder to keep tables and artifacts in, for the next time; 10m needs 10 GB")
    parser.add_argument("--docs", default=REPOSITORY / "docs", help="folder for the page, the plot and all results")
    options = parser.parse_args(arguments)
    unknown = {*options.sections} - {*SECTIONS} | {*options.sizes} - {*SIZES} | {*options.families} - {*FAMILIES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def _title(size: str) -> str:
    n_rows = SIZES[size]
    return "the sample data" if n_rows is None else f"{n_rows:,} rows"


def _describe_machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
