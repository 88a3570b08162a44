"""Measure, and write docs/performance.md: see `--help`, and `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import around, page, sections
from bench.measuring import REPOSITORY
from bench.populations import FAMILIES

SIZES = {"sample": None, "10k": 10_000, "100k": 100_000, "1m": 1_000_000, "10m": 10_000_000}
RUNS = {"sample": 7, "10k": 7, "100k": 5, "1m": 3, "10m": 1}
SECTIONS = ("stages", "reading", "whole", "alone", "sweeps", "neighbour", "starts", "airflow", "images")


def main(arguments: list[str]) -> None:
    options = _parse(arguments)
    docs = Path(options.docs)
    kept = docs / "performance.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    results["commands"] = results.get("commands", {}) | dict.fromkeys(options.sections, command)
    results["machine"] = _machine()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        for section in options.sections:
            for _ in _measure(section, results, options, Path(folder)):
                kept.write_text(json.dumps(results, indent=1) + "\n")  # whoever interrupts it keeps what there is
    if "stages" in results:
        sizes = {_title(size): n_rows or 9_000 for size, n_rows in SIZES.items()}
        (docs / "pictures").mkdir(exist_ok=True)
        page.draw_plot(results["stages"], sizes, docs / "pictures/performance.png")
    notes = docs / "performance-notes.md"
    (docs / "performance.md").write_text(page.describe(results, notes.read_text() if notes.is_file() else ""))


def _measure(section: str, results: dict[str, Any], options: argparse.Namespace, folder: Path) -> Iterator[None]:
    """Measure a section and put it into `results`, pausing whenever there is more to keep."""
    match section:
        case "stages" | "reading" | "whole" | "alone":
            measure: Callable[[Path, int], Any] = {
                "stages": sections.measure_stages,
                "reading": sections.measure_reading,
                "whole": sections.measure_whole,
                "alone": sections.measure_alone,
            }[section]
            results[section] = {}
            for size in options.sizes:
                _say(f"{section}: {_title(size)}")
                volume = sections.prepare(folder / size, SIZES[size])
                results[section][_title(size)] = measure(volume, options.runs or RUNS[size])
                yield
        case "sweeps":
            results["sweep_customers"], results["sweeps"] = options.customers, []
            for one in sections.measure_sweeps(options.families, options.customers, options.seeds, folder):
                faster = one.literal_s / one.sample_s
                _say(f"{one.family}, {one.n_features} features, seed {one.seed}: {faster:.1f}x, SSE {max(one.ratios):.6f}")
                results["sweeps"].append(one._asdict())
                yield
        case "neighbour":
            results["neighbour_customers"] = min(options.customers, 100_000)
            _say("the exact sweep beside a busy neighbour")
            results["neighbour"] = sections.measure_neighbour(results["neighbour_customers"], options.runs or 3)
            yield
        case "starts":
            _say("starting")
            results["starts"] = sections.measure_starts(options.runs or 9)
            yield
        case _ if not around.engine_answers():
            _say(f"{section}: no Docker engine answers, so this is left out")
        case "airflow":
            _say("runs in Airflow")
            results["parsing"] = around.measure_parsing(options.runs or 9)
            results["airflow"] = around.measure_runs(folder, options.runs or 5)
            yield
        case "images":
            _say("building the images")
            results["images"] = around.measure_images()
            yield


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=SECTIONS, help=f"some of {','.join(SECTIONS)}")
    parser.add_argument(
        "--sizes",
        type=lambda text: text.split(","),
        default=["sample", "10k", "100k", "1m"],
        help="10m too: stages take an hour, the others minutes",
    )
    parser.add_argument(
        "--runs", type=int, help="how often each contestant runs; by default 1 to 9, fewer where one takes long"
    )
    parser.add_argument("--families", type=lambda text: text.split(","), default=list(FAMILIES), help="of the sweeps")
    parser.add_argument("--customers", type=int, default=1_000_000, help="of the sweeps")
    parser.add_argument("--seeds", type=int, default=3, help="of the sweeps")
    parser.add_argument("--folder", help="where tables and artifacts go for as long as it takes; 10m needs 10 GB")
    parser.add_argument(
        "--docs", default=REPOSITORY / "docs", help="where the page, the picture and every single run are written"
    )
    options = parser.parse_args(arguments)
    if (
        unknown := (set(options.sections) - set(SECTIONS))
        | (set(options.sizes) - set(SIZES))
        | (set(options.families) - set(FAMILIES))
    ):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return options


def _title(size: str) -> str:
    n_rows = SIZES[size]
    return "the sample data" if n_rows is None else f"{n_rows:,} rows"


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
