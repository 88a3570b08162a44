"""Stages whose parts are worked on by a Dask cluster: real schedulers and workers, as processes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
DATA = ROOT / "shared_volume/data"
STAGES = ("extract", "transform", "train", "evaluate", "segment")
ON_CLUSTER = ("extract", "transform", "train", "segment")
SETTINGS = {
    "extract": ["--data-file=data/many", "--part-rows=700"],
    "train": ["--strategy=sample", "--k-values=2,3,4,5"],
    "evaluate": ["--resamples=2"],
    "segment": ["--publish-anyway"],
}


@contextmanager
def started(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended in any case."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.flags = flags
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[str]] = []

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    @contextmanager
    def running(self, workers: int, **options: Any) -> Iterator["Cluster"]:
        self.file.unlink(missing_ok=True)
        place = ["--scheduler-file", str(self.file), *self.flags]
        protocol = ["--protocol=tls"] if self.flags else []
        command = ["-m", "distributed.cli.dask_scheduler", "--port=0", "--no-dashboard", "--host=127.0.0.1", *protocol, *place]
        with started(*command, cwd=self.folder) as self.scheduler:
            deadline = time.monotonic() + 100
            while not self.file.exists():
                assert self.scheduler.poll() is None, self.scheduler.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            worker = ["-m", "distributed.cli.dask_worker", "--nthreads=1", "--no-nanny", "--no-dashboard", *place]
            stack = [
                started(*worker, f"--local-directory={self.folder}/worker{number}", **{"cwd": self.folder, **options})
                for number in range(workers)
            ]
            try:
                self.workers = [one.__enter__() for one in stack]
                self.wait_for_workers(workers)
                yield self
            finally:
                for one in stack:
                    one.__exit__(None, None, None)

    def wait_for_workers(self, count: int) -> None:
        """Wait until all of them have registered, in a process of its own, as a client is one too."""
        code = (
            f"from distributed import Client; Client(scheduler_file={str(self.file)!r}).wait_for_workers({count}, timeout=60)"
        )
        if not self.flags:
            subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


def make_volume(volume: Path) -> Path:
    """A volume with the sample data in six files, one of them packed."""
    (volume / "data/many").mkdir(parents=True)
    shutil.copy(DATA / "test.csv", volume / "data")
    header, *rows = (DATA / "file.csv").read_text().splitlines(keepends=True)
    for number in range(6):
        (volume / f"data/many/{number}.csv").write_text(header + "".join(rows[number::6]))
    subprocess.run(["gzip", str(volume / "data/many/3.csv")], check=True)
    return volume


def command(volume: Path, stage: str, scheduler: str = "", run: str = "demo") -> list[str]:
    there = [f"--dask-scheduler={scheduler}"] if scheduler and stage in ON_CLUSTER else []
    return ["-m", f"services.{stage}", f"--volume={volume}", f"--run={run}", *SETTINGS.get(stage, []), *there]


def run_stage(volume: Path, stage: str, scheduler: str = "", run: str = "demo", **options: Any) -> tuple[int, str]:
    """Run a stage to its end; returns exit code and log."""
    with started(*command(volume, stage, scheduler, run), stdout=subprocess.DEVNULL, **{"cwd": ROOT, **options}) as process:
        _, log = process.communicate(timeout=200)
        return process.returncode, log


def found(volume: Path, run: str = "demo") -> dict[str, Any]:
    """What a run has found: sums of squares, and the segment of each customer."""
    folder = volume / "runs" / run
    parts = sorted((folder / "segment/segments").glob("*.csv"))
    assert len(parts) > 5
    segments = {}
    for part in parts:
        with part.open(newline="") as file:
            segments.update({row["CUST_ID"]: row["segment_id"] for row in csv.DictReader(file)})
    return {"sse": json.loads((folder / "train/metrics.json").read_text())["sse"], "segments": segments}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["sse"] == pytest.approx(other["sse"], rel=1e-9)
    assert one["segments"].keys() == other["segments"].keys()
    same = sum(one["segments"][customer] == segment for customer, segment in other["segments"].items())
    assert same >= 0.9999 * len(one["segments"])


@pytest.fixture(scope="module")
def single_machine(tmp_path_factory) -> Path:
    """A volume on which all stages were run without a cluster."""
    volume = make_volume(tmp_path_factory.mktemp("single"))
    for stage in STAGES:
        code, log = run_stage(volume, stage)
        assert code == 0, log
    return volume


@pytest.fixture
def volume(single_machine, tmp_path) -> Path:
    return shutil.copytree(single_machine, tmp_path / "volume")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_cluster_finds_what_the_single_machine_finds(cluster, single_machine, tmp_path, workers):
    volume = make_volume(tmp_path)
    with cluster.running(workers):
        for stage in STAGES:
            code, log = run_stage(volume, stage, cluster.address)
            assert code == 0, log
            assert (f"{workers} Dask workers at" in log) == (stage in ON_CLUSTER)
    assert_same(found(volume), found(single_machine))
    assert not list(volume.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ON_CLUSTER)
def test_a_worker_that_is_killed_in_the_middle_of_a_stage_changes_nothing(cluster, volume, single_machine, stage):
    with cluster.running(2), started(*command(volume, stage, cluster.address), stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        log = wait_for(process, "2 Dask workers at")
        victim = cluster.workers[0]
        victim.send_signal(signal.SIGSTOP)  # what it is given now is never done
        time.sleep(1.5)
        assert process.poll() is None, "the stage was over before its worker could be killed"
        victim.kill()
        _, rest = process.communicate(timeout=200)
        assert process.returncode == 0, log + rest
    here, there = results(volume, stage), results(single_machine, stage)
    assert here.pop("sse", []) == pytest.approx(there.pop("sse", []), rel=1e-9)
    assert here == there
    if stage == "segment":
        assert_same(found(volume), found(single_machine))
    assert not list(volume.rglob("*.tmp"))


def results(volume: Path, stage: str) -> dict[str, Any]:
    """The numbers that a stage reports."""
    result = json.loads((volume / "runs/demo" / stage / "manifest.json").read_text())["result"]
    return {name: value for name, value in result.items() if name in ("rows_read", "customers", "dropped", "sse", "k")}


@pytest.mark.parametrize("stage", ON_CLUSTER)
def test_without_its_scheduler_a_stage_ends_in_75_with_nothing_half_written_and_can_be_run_again(cluster, volume, stage):
    before = (volume / "runs/demo" / stage / "manifest.json").read_bytes()
    with cluster.running(1), started(*command(volume, stage, cluster.address), stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        log = wait_for(process, "1 Dask workers at")
        cluster.workers[0].send_signal(signal.SIGSTOP)
        time.sleep(1)
        cluster.scheduler.kill()
        _, rest = process.communicate(timeout=200)
        assert process.returncode == 75, log + rest
        assert "is gone: run again" in rest.splitlines()[-1]
    assert (volume / "runs/demo" / stage / "manifest.json").read_bytes() == before
    assert not list(volume.rglob("*.tmp"))
    with cluster.running(1):
        code, log = run_stage(volume, stage, cluster.address)
        assert code == 0, log


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    log = ""
    for line in process.stderr:
        log += line
        if text in line:
            return log
    raise AssertionError(log)


def test_where_no_scheduler_answers_a_stage_ends_in_75(volume):
    code, log = run_stage(volume, "extract", "tcp://127.0.0.1:1")
    assert (code, "no Dask scheduler answers at tcp://127.0.0.1:1" in log) == (75, True), log


def test_a_worker_that_does_not_see_the_volume_is_named(cluster, volume):
    with cluster.running(1):
        # The working folder of whoever asks: the worker's is another one.
        code, log = run_stage(Path("/proc/self/cwd"), "extract", cluster.address, cwd=volume)
    assert code == 78, log
    assert "does not see the volume: /proc/self/cwd/runs/demo/extract" in log.splitlines()[-1]


def test_a_worker_with_other_code_is_refused_at_the_start(cluster, volume, tmp_path):
    shutil.copytree(ROOT / "services", tmp_path / "other/services", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other/services/extract/customers.py").open("a") as file:
        file.write("# another version\n")
    with cluster.running(1, env={"PYTHONPATH": str(tmp_path / "other")}):
        code, log = run_stage(volume, "extract", cluster.address)
    assert code == 78, log
    assert "has other code of ours" in log.splitlines()[-1]


def test_without_a_scheduler_nothing_of_dask_is_imported(volume):
    code = (
        "import sys, runpy\n"
        "sys.argv = ['x', *sys.argv[2:]]\n"
        "try: runpy.run_module('services.' + sys.orig_argv[3], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
    )
    for stage in ON_CLUSTER:
        _, _, *flags = command(volume, stage)
        ended = subprocess.run([sys.executable, "-c", code, stage, *flags], cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> dict[str, Path]:
    """An authority, and a certificate that it has signed."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def sign(subject: str, public: ec.EllipticCurvePublicKey, *, is_authority: bool) -> bytes:
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("authority")).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = {"ca": folder / "ca.pem", "cert": folder / "cert.pem", "key": folder / "key.pem"}
    files["ca"].write_bytes(sign("authority", authority.public_key(), is_authority=True))
    files["cert"].write_bytes(sign("dask", key.public_key(), is_authority=False))
    files["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_with_tls_only_who_has_a_certificate_is_let_in(tmp_path_factory, volume, certificate):
    flags = [f"--tls-ca-file={certificate['ca']}", f"--tls-cert={certificate['cert']}", f"--tls-key={certificate['key']}"]
    secured = Cluster(tmp_path_factory.mktemp("secured"), *flags)
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    known = {f"{prefix}CA_FILE": certificate["ca"], f"{prefix}CLIENT__CERT": certificate["cert"]}
    with secured.running(1):
        assert secured.address.startswith("tls://")
        key = {f"{prefix}CLIENT__KEY": str(certificate["key"])}
        code, log = run_stage(volume, "extract", secured.address, env={**{k: str(v) for k, v in known.items()}, **key})
        assert code == 0, log
        code, log = run_stage(volume, "extract", secured.address)
        assert code == 78, log
        assert "asks for certificates" in log.splitlines()[-1]
        code, log = run_stage(volume, "extract", secured.address.replace("tls://", "tcp://"))
        assert code == 75, log
