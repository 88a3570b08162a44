"""StageOperator on a real engine. The stage is a script that each test writes, in an image that contains only Python.

`test_stage_operator_fake_engine.py` covers what does not depend on the engine; `tests/chaos` kills and stops tasks in Airflow.
"""

import logging
import multiprocessing
import os
import signal
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager, suppress

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.client import from_env

from stagekit.airflow.lineage import read_manifest
from tests.stagekit.airflow.breaking_proxy import breaking_proxy
from tests.stagekit.airflow.tries import Try

pytestmark = pytest.mark.needs_docker

TAG = f"probe-{uuid.uuid4().hex[:8]}"
IMAGE, CLUSTER_IMAGE = f"probe-pipeline/train:{TAG}", f"probe-pipeline/cluster:{TAG}"


@pytest.fixture(scope="module")
def engine(docker_engine):
    """A client of the engine, which has an image whose stage is /shared/stage.py, also as the image with Dask."""
    base = os.environ.get("BASE_IMAGE", "python:3.13-slim-trixie")
    recipe = f'FROM {base}\nENV PYTHONPATH=/shared\nENTRYPOINT ["python3", "-u", "/shared/stage.py"]\n'
    build = ["docker", "build", "--quiet", "--tag", IMAGE, "--tag", CLUSTER_IMAGE, "-"]
    subprocess.run(build, input=recipe, text=True, check=True)
    client = from_env()
    yield client
    subprocess.run(["docker", "image", "rm", "--force", IMAGE, CLUSTER_IMAGE], check=True, capture_output=True)


@pytest.fixture
def volume(tmp_path, monkeypatch, engine):
    """An empty volume, and the host settings for it."""
    tmp_path.chmod(0o2775)
    for name, value in {
        "HOST_VOLUME": str(tmp_path),
        "IMAGE_TAG": TAG,
        "STAGE_USER": f"{os.getuid()}:{os.getgid()}" if os.getuid() else "50000:0",
        "STAGE_MEMORY": "64m",
    }.items():
        monkeypatch.setenv(f"PIPELINE_{name}", value)
    monkeypatch.delenv("AIRFLOW_VAR_PROBE_PIPELINE", raising=False)
    return tmp_path


class Task(Try):
    """A try whose stage is a script."""

    def __init__(self, volume, script, **arguments):
        (volume / "stage.py").write_text(script)
        super().__init__(**arguments)

    def containers(self, engine):
        of_this_run = {"label": f"probe-pipeline.run={self.instance.run_id}"}
        return engine.containers.list(all=True, filters=of_this_run, ignore_removed=True)

    def running_container(self, engine):
        """Wait for the container of the stage itself, not the one that makes its folder."""
        for _ in range(200):
            for container in self.containers(engine):
                if container.status == "running" and container.attrs["Config"]["Entrypoint"][0] == "python3":
                    return container
            time.sleep(0.05)
        raise AssertionError("no container appeared within 10 s")

    @contextmanager
    def in_background(self, engine):
        """Run the task in a thread; gives its container, and removes it in the end."""

        def run():
            with suppress(AirflowException):
                self.run()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield self.running_container(engine)
        finally:
            for container in self.containers(engine):
                container.remove(force=True)
            thread.join(30)


def stage_script(*lines, result="null", code=0):
    """Return a stage that logs lines, writes its result and exits."""
    logged = "".join(f"print({('12:00:00 train: ' + line)!r}, file=sys.stderr)\n" for line in lines)
    return f"import sys\n{logged}print({result!r})\nsys.exit({code})\n"


# --- failure


def test_a_volume_that_does_not_exist_on_the_host_is_not_retried(volume, monkeypatch):
    monkeypatch.setenv("PIPELINE_HOST_VOLUME", str(volume / "gone"))
    with pytest.raises(AirflowFailException, match="PIPELINE_HOST_VOLUME must be the path of shared_volume"):
        Task(volume, stage_script()).run()
    assert not (volume / "gone").exists()


def test_a_volume_without_write_access_is_not_retried(volume, monkeypatch):
    monkeypatch.setenv("PIPELINE_STAGE_USER", "12345:12345")
    with pytest.raises(AirflowFailException, match="Permission denied: user 12345:12345 needs write access"):
        Task(volume, stage_script()).run()


# --- isolation


SLEEP = "import time; time.sleep(600)"


def test_a_stage_is_isolated_and_so_is_its_replay(volume, engine):
    task = Task(volume, SLEEP)
    with task.in_background(engine) as found:
        status = found.exec_run(["grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/self/status"]).output.decode().split()
        replay = task.operator.definition.docker_run.replace("--rm", "--rm --detach", 1)
        started = subprocess.run(["sh", "-c", replay], check=True, capture_output=True, text=True)
        by_hand = engine.containers.get(started.stdout.strip())
        by_hand.remove(force=True)

    assert status == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]
    host = found.attrs["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["NetworkMode"] == "none"
    assert host["Init"] is True
    assert host["PidsLimit"] == 512
    assert (host["Memory"], host["MemorySwap"]) == (64 * 2**20, 64 * 2**20)
    assert host["NanoCpus"] == min(2, os.cpu_count()) * 10**9
    assert host["Privileged"] is False
    assert found.attrs["Config"]["User"] == os.environ["PIPELINE_STAGE_USER"]
    assert [mount["Target"].rpartition("/")[2] for mount in host["Mounts"] if not mount.get("ReadOnly")] == ["train"]
    assert found.attrs["Config"]["Labels"] == {
        "probe-pipeline.volume": str(volume),
        "probe-pipeline.dag": "probe",
        "probe-pipeline.run": task.instance.run_id,
        "probe-pipeline.task": "train",
        "probe-pipeline.try": "1",
        "probe-pipeline.definition": task.operator.definition.digest,
        "probe-pipeline.cleared": "0",
    }

    same = {"ReadonlyRootfs", "CapDrop", "CapAdd", "SecurityOpt", "NetworkMode", "Init", "PidsLimit", "Memory", "MemorySwap"}
    same |= {"NanoCpus", "Privileged", "Tmpfs", "Mounts", "IpcMode", "PidMode", "UsernsMode", "Devices", "Binds"}
    differing = {name for name in same if (host[name] or None) != (by_hand.attrs["HostConfig"][name] or None)}
    assert differing == set()
    assert sorted(found.attrs["Config"]["Env"]) == sorted(by_hand.attrs["Config"]["Env"])
    for name in ("User", "Image", "Cmd", "Entrypoint"):
        assert found.attrs["Config"][name] == by_hand.attrs["Config"][name]


def test_a_stage_can_write_to_its_own_folder_and_tmp_only(volume):
    stage = """
import json, os, pathlib
def writable(folder):
    try:
        (pathlib.Path(folder) / "probe").write_text("x")
        return True
    except OSError:
        return False
own = next(pathlib.Path("/shared/runs").iterdir()) / "train"
folders = ["/", "/usr", "/tmp", "/shared", "/shared/data", "/shared/model", "/shared/runs", own.parent, own]
print(json.dumps([str(folder).replace(str(own), "own folder") for folder in folders if writable(folder)]))
"""
    for folder in ("data", "model"):
        (volume / folder).mkdir()
        (volume / folder).chmod(0o2777)
    assert Task(volume, stage).run() == ["/tmp", "own folder"]


def test_with_a_dask_scheduler_a_stage_runs_in_the_image_with_dask_on_the_cluster_s_network(volume, engine, monkeypatch):
    monkeypatch.setenv("PIPELINE_CLUSTER_NETWORK", TAG)
    monkeypatch.setenv("PIPELINE_DASK_SCHEDULERS", "tcp://other:8786,tls://dask:8786")
    monkeypatch.setenv("DASK_CA_FILE", "/shared/ca.pem")
    (volume / "services").mkdir()
    stage = """
import json, os
print(json.dumps([os.listdir("/sys/class/net"), {name: value for name, value in os.environ.items() if "DASK" in name}]))
"""
    (volume / "services/train.py").write_text(stage)
    network = engine.networks.create(TAG, internal=True)
    try:
        task = Task(volume, "")
        task.params["dask_scheduler"] = "tls://dask:8786"
        interfaces, variables = task.run()
    finally:
        network.remove()
    assert set(interfaces) - {"lo"}
    assert variables == {"PIPELINE_DASK_SCHEDULER": "tls://dask:8786", "DASK_CA_FILE": "/shared/ca.pem"}
    assert {f"--network={TAG}", "--entrypoint=python3"} <= set(task.operator.docker_run.split())
    interfaces, variables = Task(volume, stage).run()
    assert (interfaces, variables) == (["lo"], {})


# --- attaching and removing


def test_the_engine_refuses_a_second_container_of_a_task(volume, engine):
    task = Task(volume, SLEEP)
    with task.in_background(engine) as first:
        second = subprocess.run(["docker", "create", f"--name={first.name}", IMAGE], capture_output=True, text=True)
    assert "already in use" in second.stderr


COUNT = """
import pathlib, sys, time
own = next(pathlib.Path("/shared/runs").iterdir()) / "train"
with (own / "starts").open("a") as file:
    file.write("x")
print("12:00:00 train: WARNING: before the kill", file=sys.stderr, flush=True)
while not pathlib.Path("/shared/release").exists():
    time.sleep(0.05)
print("12:00:00 train: after the kill", file=sys.stderr)
print(len((own / "starts").read_text()))
"""


def test_a_container_that_has_exited_after_its_process_was_killed_yields_log_and_result(volume, engine, caplog):
    caplog.set_level(logging.INFO)
    task = Task(volume, COUNT)
    process = multiprocessing.get_context("fork").Process(target=task.run)
    process.start()
    container = task.running_container(engine)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (volume / "release").touch()
    container.wait()
    assert task.next_try().run() == 1
    assert task.containers(engine) == []
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels["12:00:00 train: WARNING: before the kill"] == "WARNING"
    assert levels["12:00:00 train: after the kill"] == "INFO"


def test_a_connection_that_breaks_after_the_container_exited_loses_neither_log_nor_result(volume, engine, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    with breaking_proxy() as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        task = Task(volume, "import time\ntime.sleep(1)\n" + stage_script("first", "last", result='"once"'))
        assert task.run() == "once"
        assert proxy.n_broken == 1
    assert [message for message in caplog.messages if message.startswith("12:00:00")] == [
        "12:00:00 train: first",
        "12:00:00 train: last",
    ]
    assert task.containers(engine) == []


def test_the_manifest_can_be_read_from_a_container_that_has_exited(volume, engine):
    stage = """
import hashlib, json, pathlib, sys
own = next(pathlib.Path("/shared/runs").iterdir()) / "train"
text = json.dumps({"stage": "train"}).encode()
(own / "manifest.json").write_bytes(text)
print("12:00:00 train: manifest sha256:" + hashlib.sha256(text).hexdigest(), file=sys.stderr)
print(json.dumps(str(own / "manifest.json")))
"""
    task = Task(volume, stage)
    path = task.operator.execute(task.context)
    container, digest = task.operator.container["Id"], task.xcom["manifest"]
    assert read_manifest(engine.api, container, path, digest) == {"stage": "train"}
    assert read_manifest(engine.api, container, path, "0" * 64) is None
    assert read_manifest(engine.api, container, "/shared/none.json", digest) is None
    engine.containers.get(container).remove()


def test_a_container_that_is_removed_by_hand_is_reported_and_the_next_try_starts_another(volume, engine):
    task = Task(volume, SLEEP)
    threading.Thread(target=lambda: task.running_container(engine).remove(force=True), daemon=True).start()
    with pytest.raises(AirflowException, match="was removed before it had ended"):
        task.run()
    (volume / "stage.py").write_text(stage_script(result='"again"'))
    assert task.next_try().run() == "again"


def test_a_stage_may_log_nothing_for_longer_than_the_client_s_timeout(volume):
    task = Task(volume, "import time; time.sleep(3); print(1)", timeout=2)
    assert task.run() == 1
