"""The smallest benchmark runs to its end; its figures are not checked."""

import csv
import json
import shutil
from subprocess import CalledProcessError

import numpy as np
import pytest

from bench.__main__ import main
from bench.measuring import Run, alternate, median, run, total
from bench.populations import FAMILIES, draw, write_table
from bench.sections import LAB_DATA
from services.contract.columns import NUMERIC_COLUMNS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_population_depends_on_its_seed_only_and_has_no_copies(family):
    customers = draw(family, 20_000, 8, seed=1)
    assert customers.shape == (20_000, 8)
    np.testing.assert_array_equal(customers, draw(family, 20_000, 8, seed=1))
    assert not np.array_equal(customers, draw(family, 20_000, 8, seed=2))
    assert len(np.unique(customers, axis=0)) > 0.99 * len(customers)


def test_a_table_has_all_columns_a_few_duplicates_and_a_few_empty_cells(tmp_path):
    write_table(tmp_path / "file.csv", 3_000, seed=1)
    with (tmp_path / "file.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3_000
    assert set(rows[0]) == {"CUST_ID", *NUMERIC_COLUMNS}
    assert 2_800 < len({row["CUST_ID"] for row in rows}) < 3_000
    assert 0 < sum(row["CREDIT_LIMIT"] == "" for row in rows) < 100


def test_contestants_take_turns():
    turns = []

    def contestant(name):
        return lambda: turns.append(name) or {"part": Run(1.0, 1.0, 1.0)}

    runs = alternate({"a": contestant("a"), "b": contestant("b")}, runs=2)
    assert turns == ["a", "b", "a", "b"]
    assert [len(runs[name]["part"]) for name in "ab"] == [2, 2]


def test_runs_of_consecutive_processes_are_added_up():
    runs = [Run(1, 2, 30), Run(4, 5, 10), Run(9, 9, 20)]
    assert total(runs) == (14, 16, 30)
    assert median(runs) == (4, 5, 20)


def test_the_memory_of_a_process_is_its_peak():
    assert 700 < run(["-c", "bytearray(700 * 2**20)"]).peak_mib < 750


def test_a_failed_process_raises_an_error():
    with pytest.raises(CalledProcessError):
        run(["-c", "raise SystemExit(3)"])


@pytest.mark.slow
def test_the_smallest_bench_writes_page_plot_and_every_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_N_RESAMPLES", "2")
    (tmp_path / "sample/data").mkdir(parents=True)
    write_table(tmp_path / "sample/data/file.csv", 1_000, seed=1)  # in place of the sample data, which take longer
    shutil.copy(LAB_DATA / "test.csv", tmp_path / "sample/data")
    arguments = [
        "--sizes=sample",
        "--runs=1",
        "--families=mixed",
        "--customers=2000",
        "--seeds=1",
        f"--docs={tmp_path}",
        f"--folder={tmp_path}",
    ]
    main([*arguments, "--sections=sweeps"])
    main([*arguments, "--sections=stages,reading,whole"])  # the others stay
    text = (tmp_path / "performance.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Performance",
        "## The lab's four stages, the sample data",
        "## Reading the sample data",
        "## Whole pipeline and an expert's script, the sample data",
        "## The sweep from a sample",
    ]
    assert "--sizes=sample --runs=1" in text
    assert (tmp_path / "images/performance.png").read_bytes().startswith(b"\x89PNG")
    assert "| evaluate, without bootstrap and null models |" in text
    assert "| all six stages, without them |" in text
    results = json.loads((tmp_path / "performance.json").read_text())
    whole = results["whole"]["the sample data"]["runs"]
    assert whole["without estimates"]["evaluate"] != whole["pipeline"]["evaluate"]
    evaluation = json.loads((tmp_path / "sample/runs/bench/evaluate/evaluation.json").read_text())
    assert not any(candidate["structure"] for candidate in evaluation["candidates"])
    assert set(results["stages"]["the sample data"]["pipeline"]) == {"extract", "transform", "train", "evaluate"}
    assert [one["n_features"] for one in results["sweeps"]] == [3, 8]
    assert all(ratio < 1.01 for one in results["sweeps"] for ratio in one["ratios"])
