"""A running stack for fault injection: starts runs of a probe, injects faults and records what the engine does meanwhile."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.chaos.engine import Engine
from tests.docker.commands import REPOSITORY, TAG, docker
from tests.docker.stack import Stack, running_stack

PROBE = REPOSITORY / "tests/chaos/probe"
KILL = """
import contextlib, os, pathlib, sys
for process in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
        if (process / "cmdline").read_bytes().strip(b"\\0").decode() == sys.argv[1]:
            os.kill(int(process.name), int(sys.argv[2]))
            print("killed")
"""


@dataclass
class Airflow:
    stack: Stack
    engine: Engine | None  # if the stages run on another one than Airflow

    def docker(self, *arguments: str) -> str:
        """Call docker on the engine that the stages run on."""
        return self.engine.docker(*arguments) if self.engine else docker(*arguments)

    def compose(self, *arguments: str, **variables: str) -> None:
        """Call docker compose on this stack."""
        subprocess.run(
            ["docker", "compose", f"--env-file={self.stack.variables['ENV_FILE']}", *arguments],
            cwd=REPOSITORY,
            env=os.environ | self.stack.variables | variables,
            check=True,
            capture_output=True,
        )

    # --- runs, as a user sees them

    def start(self, run: str, dag: str = "probe", **conf: Any) -> None:
        address = f"{self.stack.address}/api/v2/dags/{dag}/dagRuns"
        answer = self.stack.signed_in.post(address, json={"logical_date": None, "dag_run_id": run, "conf": conf}, timeout=30)
        assert answer.status_code == 200, answer.text

    def task(self, run: str, dag: str = "probe", task: str = "probe") -> dict[str, Any]:
        instance: dict[str, Any] = self.stack.get(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}")
        return instance

    def ended(self, run: str, dag: str = "probe", task: str = "probe") -> dict[str, Any]:
        """Wait until the run has ended; returns its task."""
        wait_for(lambda: self.stack.get(f"dags/{dag}/dagRuns/{run}")["state"] in {"success", "failed"}, f"the end of {run}")
        return self.task(run, dag, task)

    def wait_until_healthy(self) -> None:
        """Wait until the API server answers and has heard of a scheduler."""

        def is_healthy() -> bool:
            try:
                return bool(self.stack.get("monitor/health")["scheduler"]["status"] == "healthy")
            except (requests.RequestException, AssertionError):
                return False

        wait_for(is_healthy, "Airflow to come back")

    def log(self, run: str, attempt: int) -> list[str]:
        content = self.stack.get(f"dags/probe/dagRuns/{run}/taskInstances/probe/logs/{attempt}?full_content=true")["content"]
        return [line["event"] for line in content if not line["event"].startswith("::")]  # a section of the log

    def attached_by_try(self, run: str, attempt: int) -> str:
        """Wait until a try has attached to a container; returns the line of its log."""
        lines: list[str] = []

        def read() -> bool:
            task = self.task(run)
            if task["try_number"] == attempt and task["state"] == "running":
                lines.extend(line for line in self.log(run, attempt) if line.startswith("attached to container"))
            return bool(lines)

        wait_for(read, f"try {attempt} of {run} to attach")
        return lines[0]

    def set_state(self, run: str, state: str) -> None:
        """Mark the task as a user does in the UI."""
        self._patch(f"dags/probe/dagRuns/{run}/taskInstances/probe", {"new_state": state})

    def stop_run(self, run: str) -> None:
        """Mark the whole DAG run as failed, as a user does in the UI to stop it."""
        self._patch(f"dags/probe/dagRuns/{run}", {"state": "failed"})

    def _patch(self, path: str, body: dict[str, str]) -> None:
        answer = self.stack.signed_in.patch(f"{self.stack.address}/api/v2/{path}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text

    def clear(self, run: str) -> None:
        """Clear the task as a user does in the UI."""
        conditions = {"dag_run_id": run, "task_ids": ["probe"], "dry_run": False, "only_failed": False}
        answer = self.stack.signed_in.post(
            f"{self.stack.address}/api/v2/dags/probe/clearTaskInstances", json=conditions, timeout=30
        )
        assert answer.status_code == 200, answer.text

    # --- containers of stages

    def started_by_try(self, run: str, attempt: int) -> str:
        """Wait for the container that this try runs its stage in; returns its id."""
        labels = [
            f"--filter=label=customer-segmentation.{name}={value}" for name, value in {"run": run, "try": attempt}.items()
        ]
        command = ["ps", "--quiet", "--no-trunc", "--filter=name=customer-segmentation-probe", *labels]
        ids: list[str] = []
        wait_for(lambda: bool(ids.extend(self.docker(*command).split()) or ids), f"try {attempt} of {run} on the engine")
        return ids[0]

    def remaining_containers(self, run: str) -> list[str]:
        """List the ids of all containers of a run, whether they run or have exited."""
        labels = {"volume": self.stack.volume, "run": run}
        filters = [f"--filter=label=customer-segmentation.{name}={value}" for name, value in labels.items()]
        return self.docker("ps", "--all", "--quiet", *filters).split()

    def release(self, run: str) -> None:
        """Let the probe of a run end."""
        (self.stack.volume / "data" / f"release-{run}").touch()

    # --- faults

    def schedulers(self) -> list[str]:
        """List the ids of the running schedulers."""
        labels = [f"project={self.stack.project}", "service=scheduler"]
        return docker("ps", "--quiet", *(f"--filter=label=com.docker.compose.{label}" for label in labels)).split()

    def kill(self, title: str, number: int = signal.SIGKILL) -> bool:
        """Send a signal to one of the scheduler's processes; returns whether it was there."""
        scheduler = self.stack.containers()["scheduler"]["Id"]
        return docker("exec", scheduler, "python3", "-c", KILL, title, str(int(number))) == "killed"

    def kill_all_containers(self, stage: str) -> None:
        """Send SIGKILL to the first process of every container of the stack and of a stage's, almost at once."""
        of_stage = json.loads(self.docker("inspect", stage))
        for container in [*self.stack.containers().values(), *of_stage]:
            os.kill(container["State"]["Pid"], signal.SIGKILL)

    @contextmanager
    def recorded_events(self) -> Iterator["ContainerEvents"]:
        """Record when containers of stages start and end."""
        of_stages = [f"--filter=label=customer-segmentation.volume={self.stack.volume}", "--filter=type=container"]
        command = ["docker", *([f"--host=unix://{self.engine.folder}/docker.sock"] if self.engine else []), "events"]
        command += [*of_stages, "--filter=event=start", "--filter=event=die", "--format={{json .}}"]
        # Into a file: the engine drops events while the reader of a full pipe is waited for.
        with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output) as listening:
            recorded = ContainerEvents()
            try:
                yield recorded
                time.sleep(1)
            finally:
                listening.terminate()
                listening.wait()
            output.seek(0)
            recorded.events += [json.loads(line) for line in output]


class ContainerEvents:
    """The output of `docker events`; complete once the recording has ended."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def n_started(self, run: str, stage: str = "probe") -> int:
        """Count the containers that ran the stage, not those that made its folder."""
        name = f"customer-segmentation-{stage}-"
        return sum(event["Action"] == "start" and name in event["Actor"]["Attributes"]["name"] for event in self._of(run))

    def max_running(self, run: str) -> int:
        running: Counter[str] = Counter()
        maximum = 0
        for event in self._of(run):
            running[event["Actor"]["ID"]] = int(event["Action"] == "start")
            maximum = max(maximum, running.total())
        return maximum

    def _of(self, run: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["Actor"]["Attributes"]["customer-segmentation.run"] == run]


def wait_for(condition: Callable[[], bool], what: str, timeout_s: int = 240) -> None:
    """Poll until a condition holds; the timeout is for a busy machine and part of no assertion."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_s} s for {what}"
        time.sleep(0.3)


@contextmanager
def fault_injection_stack(folder: Path, engine: Engine | None) -> Iterator[Airflow]:
    """Start a stack with the probe, whose stages run on `engine`, as SECURITY.md sets it up behind a proxy with TLS."""
    image = f"customer-segmentation/probe:{TAG}"
    docker("build", "--quiet", f"--build-arg=TAG={TAG}", f"--tag={image}", str(PROBE))
    if engine:
        engine.copy_image(image)
    behind_tls = folder / "compose.override.yaml"
    behind_tls.write_text((REPOSITORY / "SECURITY.md").read_text().partition("```yaml\n")[2].partition("```")[0])
    variables = {"COMPOSE_FILE": f"{REPOSITORY}/compose.yaml:{PROBE}/compose.yaml:{behind_tls}", "PROBE": str(PROBE)}
    variables |= {"PIPELINE_STAGE_MEMORY": "256m", **(engine.variables if engine else {})}
    with running_stack(folder, "chaos", **variables) as stack:
        yield Airflow(stack, engine)
