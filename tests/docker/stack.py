"""The whole stack, started by `make up` beside other containers of this engine, and used through its REST API."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.docker.commands import REPOSITORY, TAG, docker, make

DAG = "customer_segmentation_lab1"


@dataclass
class Stack:
    project: str
    volume: Path
    variables: dict[str, str]
    secrets: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.variables['AIRFLOW_PORT']}"

    def make(self, target: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return make(target, check=check, **self.variables, **variables)

    def containers(self) -> dict[str, Any]:
        """Inspect the running containers of the stack, by service."""
        running = docker("ps", "--quiet", f"--filter=label=com.docker.compose.project={self.project}").split()
        containers = json.loads(docker("inspect", *running))
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in containers}

    def client(self) -> requests.Session:
        password = self.secrets["AIRFLOW_ADMIN_PASSWORD"]
        answer = requests.post(f"{self.address}/auth/token", json={"username": "admin", "password": password}, timeout=30)
        assert answer.status_code == 201, answer.text
        client = requests.Session()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    @cached_property
    def signed_in(self) -> requests.Session:
        """A shared client for frequent requests: each sign-in takes noticeable CPU time."""
        return self.client()

    def get(self, path: str) -> Any:
        answer = self.signed_in.get(f"{self.address}/api/v2/{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, path: str, reached: Callable[[Any], bool], timeout_s: float = 900) -> Any:
        """Get a path again and again until the answer fulfils a condition; returns that answer."""
        ends = time.monotonic() + timeout_s
        while not reached(found := self.get(path)):
            assert time.monotonic() < ends, found
            time.sleep(0.5)
        return found

    def run(self, conf: dict[str, Any], dag: str = DAG, logical_date: str | None = None) -> dict[str, Any]:
        """Start a run through the REST API and wait for its end; returns what Airflow knows of it."""
        body = {"logical_date": logical_date, "conf": conf}
        answer = self.signed_in.post(f"{self.address}/api/v2/dags/{dag}/dagRuns", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        path = path_of(answer.json()["dag_run_id"], dag)
        ended: dict[str, Any] = self.wait_for(path, lambda run: run["state"] in {"success", "failed"})
        return ended

    def wait_until_idle(self) -> None:
        """Wait for the end of all runs: a new stack runs the schedule's last date first, and there is one run at a time."""
        self.wait_for(f"dags/{DAG}/dagRuns?state=running&state=queued", lambda found: not found["dag_runs"])

    def result(self, run: dict[str, Any], task: str) -> Any:
        """Return the result of a task."""
        path = f"{path_of(run['dag_run_id'], run['dag_id'])}/taskInstances/{task}/xcomEntries/return_value?stringify=false"
        return self.get(path)["value"]

    def log(self, run: dict[str, Any], task: str) -> list[str]:
        """Return the lines that the first try of a task has logged."""
        path = f"{path_of(run['dag_run_id'], run['dag_id'])}/taskInstances/{task}/logs/1?full_content=true"
        return [line["event"] for line in self.get(path)["content"]]


def path_of(run: str, dag: str = DAG) -> str:
    """Return the path of a run in the REST API."""
    return f"dags/{dag}/dagRuns/{quote(run, safe='')}"


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def sample_volume(folder: Path) -> Path:
    volume = folder / "shared_volume"
    shutil.copytree(REPOSITORY / "shared_volume" / "data", volume / "data")
    return volume


@contextmanager
def running_stack(folder: Path, name: str = "test", **more: str) -> Iterator[Stack]:
    """Start a stack; `more` are further variables of make, or replace the defaults here."""
    volume = sample_volume(folder)
    project = f"customer-segmentation-{name}-{os.getpid()}"
    variables = {
        "COMPOSE_PROJECT_NAME": project,
        "AIRFLOW_PORT": free_port(),
        "ENV_FILE": str(folder / "secrets"),
        "VOLUME": str(volume),
        "TAG": TAG,
        **more,
    }
    try:
        ended = make("up", check=False, **variables)
        if ended.returncode:
            logs = docker("compose", f"--project-name={project}", "logs", "--no-color", "--tail=50")
            pytest.fail(f"make up ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}\n{logs}")
        lines = (folder / "secrets").read_text().splitlines()
        secrets = {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}
        yield Stack(project, volume, variables, secrets)
    finally:
        make("down", check=False, **variables)
        for volume_name in ("database", "logs"):
            subprocess.run(["docker", "volume", "rm", f"{project}_{volume_name}"], capture_output=True)
