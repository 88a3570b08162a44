"""Stages whose parts are worked on by a Dask cluster: real schedulers and workers, as processes."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagekit.errors import OutOfMemoryError, SetupError, TransientError
from stagekit.workers.dask_pool import dask_pool
from tests.chaos.processes import run
from tests.services.cluster import Cluster, Fatal, make_certificates, running

ROOT = Path(__file__).parents[2]
DATA = ROOT / "shared_volume/data"
STAGES = ("extract", "transform", "train", "evaluate", "segment")
ON_CLUSTER = ("extract", "transform", "train", "segment")
SETTINGS = {
    "extract": ["--data-file=data/many"],
    "train": ["--strategy=sample", "--k-values=2,3,4,5", "--n-init=2"],
    "evaluate": ["--n-resamples=2"],
    "segment": ["--publish=always"],
}
ROWS_PER_PART = 250


def run_stage(volume: Path, stage: str, scheduler: str = "", rows_per_part: int = ROWS_PER_PART) -> tuple[int, str]:
    """Run a stage to its end; returns exit code and log."""
    return run(volume, stage, *flags(stage, scheduler, rows_per_part))


def flags(stage: str, scheduler: str = "", rows_per_part: int = ROWS_PER_PART) -> list[str]:
    there = [f"--dask-scheduler={scheduler}"] if scheduler and stage in ON_CLUSTER else []
    size = [f"--rows-per-part={rows_per_part}"] if stage == "extract" else []
    return ["--run=demo", *SETTINGS.get(stage, []), *size, *there]


def run_all(volume: Path, scheduler: str = "", rows_per_part: int = ROWS_PER_PART) -> Path:
    """Make a volume with a part of the sample data in six files, one of them packed, and run all stages on it."""
    (volume / "data/many").mkdir(parents=True)
    shutil.copy(DATA / "test.csv", volume / "data")
    header, *rows = (DATA / "file.csv").read_text().splitlines(keepends=True)[:3001]
    for number in range(5):
        (volume / f"data/many/{number}.csv").write_text(header + "".join(rows[number::6]))
    (volume / "data/many/5.csv.gz").write_bytes(gzip.compress((header + "".join(rows[5::6])).encode()))
    for stage in STAGES:
        code, log = run_stage(volume, stage, scheduler, rows_per_part)
        assert code == 0, log
        assert ("Dask workers at" in log) == (bool(scheduler) and stage in ON_CLUSTER)
    return volume


def found(volume: Path) -> dict[str, Any]:
    """What a run has found: sums of squares, and what segments.csv has of each customer."""
    folder = volume / "runs/demo"
    whole = folder / "segment/segments.csv"
    segments = {}
    for part in [whole] if whole.exists() else sorted((folder / "segment/segments").glob("*.csv")):
        with part.open(newline="") as file:
            rows = csv.DictReader(file)
            segments.update({row["CUST_ID"]: (row["segment_id"], row["is_outlier"], row["reason"]) for row in rows})
    return {"sse": json.loads((folder / "train/metrics.json").read_text())["sse"], "segments": segments}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["segments"].keys() == other["segments"].keys()
    same = sum(one["segments"][customer] == segment for customer, segment in other["segments"].items())
    apart = max(abs(here - there) / there for here, there in zip(one["sse"], other["sse"], strict=True))
    print(f"{same} of {len(one['segments'])} customers in the same segment, SSE differ by {apart:.1e} at most")
    assert apart <= 1e-9
    assert same >= 0.9999 * len(one["segments"])


def results(volume: Path, stage: str) -> dict[str, Any]:
    """The numbers that a stage reports; under "sse" those that depend on the order of a sum."""
    result = json.loads((volume / "runs/demo" / stage / "manifest.json").read_text())["result"]
    if stage == "evaluate":
        candidates = json.loads((volume / "runs/demo/evaluate/evaluation.json").read_text())["candidates"]
        return {"label": result, "sse": [candidate["calinski_harabasz"] for candidate in candidates]}
    return {name: value for name, value in result.items() if name in ("rows_read", "customers", "dropped", "sse", "k")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one worker."""
    with running(tmp_path_factory.mktemp("cluster"), 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def single_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume on which all stages were run without a cluster, in parts."""
    return run_all(tmp_path_factory.mktemp("single") / "volume")


@pytest.fixture
def volume(single_machine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(single_machine, tmp_path / "volume")


@pytest.mark.parametrize(("workers", "rows_per_part"), [(0, 1_000_000), (3, 500)])
def test_every_number_of_workers_and_parts_finds_what_the_single_machine_finds(
    single_machine, tmp_path, workers, rows_per_part
):
    with running(tmp_path, workers) as cluster:
        volume = run_all(tmp_path / "volume", cluster.address if workers else "", rows_per_part)
    assert_same(found(volume), found(single_machine))
    assert not list(volume.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ON_CLUSTER)
def test_a_worker_that_is_killed_in_the_middle_of_a_stage_changes_nothing(cluster, volume, single_machine, stage):
    doomed = cluster.add_worker(Fatal(5))
    code, log = run_stage(volume, stage, cluster.address)
    assert code == 0, log
    assert "2 Dask workers at" in log
    assert doomed.has_died()
    here, there = results(volume, stage), results(single_machine, stage)
    assert here.pop("sse", []) == pytest.approx(there.pop("sse", []), rel=1e-9)
    assert here == there
    if stage == "segment":
        assert_same(found(volume), found(single_machine))
    assert not list(volume.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ["train", "segment"])
def test_without_its_scheduler_a_stage_ends_in_75_with_nothing_half_written_and_can_be_run_again(
    cluster, volume, tmp_path, stage
):
    before = (volume / "runs/demo" / stage / "manifest.json").read_bytes()
    with running(tmp_path, 0) as other:
        other.add_worker(Fatal(5, other.scheduler.pid))
        code, log = run_stage(volume, stage, other.address)
        assert code == 75, log
        assert "is gone: run again" in log.splitlines()[-1]
    assert (volume / "runs/demo" / stage / "manifest.json").read_bytes() == before
    assert not list(volume.rglob("*.tmp"))
    code, log = run_stage(volume, stage, cluster.address)
    assert code == 0, log


def test_where_no_scheduler_answers_and_where_it_has_no_workers_the_next_try_may_be_luckier(tmp_path, monkeypatch):
    monkeypatch.setattr("stagekit.workers.dask_pool._CONNECT_TIMEOUT_S", 1)
    with (
        pytest.raises(TransientError, match="no Dask scheduler answers at tcp"),
        dask_pool("tcp://127.0.0.1:1", tmp_path),
    ):
        pass
    with (
        running(tmp_path, 0) as cluster,
        pytest.raises(TransientError, match="has no workers"),
        dask_pool(cluster.address, tmp_path),
    ):
        pass


def test_a_stage_whose_workers_are_all_gone_does_not_wait_for_others_forever(volume, tmp_path):
    with running(tmp_path, 0, config={"distributed.scheduler.no-workers-timeout": "1s"}) as cluster:
        cluster.add_worker(Fatal(5))
        code, log = run_stage(volume, "extract", cluster.address)
    assert (code, "has lost all its workers" in log.splitlines()[-1]) == (75, True), log


def test_work_that_kills_one_worker_after_the_other_ends_in_one_clear_line(tmp_path):
    with running(tmp_path, 0) as cluster:
        doomed = [cluster.add_worker() for _ in range(4)]
        with (
            pytest.raises(OutOfMemoryError, match=r"4 Dask workers crashed in turn on the same part, .* \(scheduler tcp://"),
            dask_pool(cluster.address, tmp_path) as workers,
        ):
            list(workers.map(signal.raise_signal, [signal.SIGKILL]))
        assert all(worker.has_died() for worker in doomed)


def test_a_worker_that_does_not_see_the_volume_is_named(cluster, volume, monkeypatch):
    monkeypatch.chdir(volume)  # of the stage; the worker is in another folder
    mounted = volume.with_name("mounted")
    mounted.symlink_to("/proc/self/cwd")
    code, log = run_stage(mounted, "extract", cluster.address)
    assert code == 78, log
    assert re.search(
        f"tcp://.* does not see the volume: mount it so that {mounted}/runs/demo/extract exists", log.splitlines()[-1]
    )


@pytest.mark.parametrize("other", ["code", "numpy"])
def test_a_worker_of_another_image_is_refused_at_the_start(volume, tmp_path, other):
    if other == "code":
        for package in ("stagekit", "services"):
            shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
        with (tmp_path / "services/extract/main.py").open("a") as file:
            file.write("# another version\n")
    else:
        described = tmp_path / f"{other}-0.1.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 0.1\n")
    with running(tmp_path, 0) as cluster:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.address, "--no-nanny", "--no-dashboard"]
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
            try:
                code, log = run_stage(volume, "extract", cluster.address)
            finally:
                worker.kill()
    assert code == 78, log
    assert re.search(f"has {other} .*, this stage .*: all need the same image", log.splitlines()[-1])


def test_without_a_scheduler_nothing_of_dask_is_imported(volume):
    code = (
        "import sys, runpy\n"
        "try: runpy.run_module('services.extract', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, f"--volume={volume}", *flags("extract")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_with_tls_only_who_has_a_certificate_is_let_in(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("stagekit.workers.dask_pool._CONNECT_TIMEOUT_S", 2)
    folder = tmp_path / "tls"
    make_certificates(folder)
    certificates = {"ca-file": f"{folder}/ca.pem", "cert": f"{folder}/dask.pem", "key": f"{folder}/dask.key"}
    with running(tmp_path, 1, *(f"--tls-{name}={path}" for name, path in certificates.items())) as cluster:
        assert cluster.address.startswith("tls://")
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        names = {"ca-file": f"{prefix}CA_FILE", "cert": f"{prefix}CLIENT__CERT", "key": f"{prefix}CLIENT__KEY"}
        environment = {**os.environ, **{names[name]: path for name, path in certificates.items()}}
        command = [sys.executable, "-m", "services.extract", f"--volume={volume}", *flags("extract", cluster.address)]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert "1 Dask workers at tls://" in ended.stderr
        with pytest.raises(SetupError, match="requires certificates"), dask_pool(cluster.address, tmp_path):
            pass
        plain = cluster.address.replace("tls://", "tcp://")
        with pytest.raises(TransientError, match="no Dask scheduler answers"), dask_pool(plain, tmp_path):
            pass
