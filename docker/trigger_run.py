"""Start a run through Airflow's REST API, follow it task by task, print the results.

    CONF='{"k_values": [2, 3]}' python3 docker/trigger_run.py .env
    DAG=housekeeping SHOW_LOGS=yes python3 docker/trigger_run.py .env

Without DAG, the DAG whose tag is the name of the pipeline is triggered. It needs only the standard library, so that it also
shows the requests of a client. The exit code is 1 if the run fails.
"""

import contextlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from write_env import read  # the file beside this one

SHOW_LOGS = os.environ.get("SHOW_LOGS") == "yes"
"""Whether to print the logs of successful tasks, too."""


class NotAirflowError(Exception):
    """Another service answers at the address of Airflow."""


class Airflow:
    """A client of Airflow's REST API."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address = address
        self.token = ""
        found = self.send("/api/v2/version")  # before the password is sent to another program that may have taken the port
        if not isinstance(found, dict) or "version" not in found:
            raise NotAirflowError
        self.token = self.send("/auth/token", {"username": user, "password": password})["access_token"]

    def send(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the JSON of the response."""
        request = urllib.request.Request(  # noqa: S310 - the address is our own
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.load(response)
        except (http.client.HTTPException, ValueError):
            raise NotAirflowError from None


@contextlib.contextmanager
def sign_in(environment: Path) -> Iterator[Airflow]:
    """Sign in as admin to the stack of an .env file; exits with one line if that or a later request fails."""
    known = read(environment) | os.environ
    if "AIRFLOW_ADMIN_PASSWORD" not in known:
        sys.exit(f"{environment} does not exist: run `make up` first")
    address = f"http://127.0.0.1:{known['AIRFLOW_PORT']}"
    wrong_service = (
        f"something else than Airflow answers at {address}: `make up AIRFLOW_PORT=8081` starts Airflow at another port"
    )
    try:
        yield Airflow(address, "admin", known["AIRFLOW_ADMIN_PASSWORD"])
    except NotAirflowError:
        sys.exit(wrong_service)
    except urllib.error.HTTPError as error:
        try:
            reason = json.load(error)["detail"]
        except (ValueError, LookupError, TypeError):
            sys.exit(wrong_service)
        sys.exit(f"Airflow answers {error.code}: {reason}")
    except OSError as error:
        reason = getattr(error, "reason", error)
        sys.exit(f"Airflow does not answer at {address} ({reason}): is it up? `make up` starts it")


def find_dag(airflow: Airflow, tag: str) -> str:
    """Return the id of the only DAG with a tag."""
    names = [dag["dag_id"] for dag in airflow.send(f"/api/v2/dags?tags={quote(tag)}")["dags"]]
    if len(names) != 1:
        sys.exit(f"{len(names)} DAGs have the tag {tag} ({', '.join(names) or 'none'}), expected one: name it, DAG=...")
    return str(names[0])


def start(airflow: Airflow, dag: str, conf: dict[str, Any]) -> str:
    """Trigger a run and return its path in the API."""
    # Without a logical date, because the run is for no interval of the schedule, and two may start in the same second.
    run = airflow.send(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
    return f"/api/v2/dags/{dag}/dagRuns/{quote(run['dag_run_id'], safe='')}"


def follow(airflow: Airflow, run: str) -> str:
    """Print every change until the run has ended and return its state."""
    shown: set[str] = set()
    queue_notice_at = time.monotonic() + 3
    while True:
        state: str = airflow.send(run)["state"]  # before the tasks, so that their last change is not missed
        tasks = airflow.send(f"{run}/taskInstances")["task_instances"]
        for task in sorted(tasks, key=lambda task: task["start_date"] or "later"):
            line = f"  {task['task_id']:<30} {task['state']}"
            if task["state"] in {"success", "failed", "up_for_retry"}:
                line += f"  {task['duration'] or 0:.1f} s"
            if task["state"] and line not in shown:
                print(line, flush=True)
                shown.add(line)
                if task["state"] in {"failed", "up_for_retry"} or (SHOW_LOGS and task["state"] == "success"):
                    print_log(airflow, f"{run}/taskInstances/{task['task_id']}/logs/{task['try_number']}")
        if state in {"success", "failed"}:
            return state
        if state == "queued" and "queued" not in shown and time.monotonic() > queue_notice_at:
            print("  queued behind another run: one runs at a time", flush=True)
            shown.add("queued")
        time.sleep(0.5)


def print_log(airflow: Airflow, path: str) -> None:
    """Print the end of the log of a task, or all of it."""
    events = [line["event"] for line in airflow.send(f"{path}?full_content=true")["content"]]
    events = [event for event in events if not event.startswith("::")]
    for event in events if SHOW_LOGS else events[-15:]:
        print(f"    | {event}", flush=True)


def print_results(airflow: Airflow, run: str) -> None:
    """Print the results of all tasks of a run."""
    for entry in airflow.send(f"{run}/taskInstances/~/xcomEntries")["xcom_entries"]:
        if entry["key"] == "return_value":
            result = airflow.send(f"{run}/taskInstances/{entry['task_id']}/xcomEntries/return_value?stringify=false")
            print(f"  {entry['task_id']}: {json.dumps(result['value'])}")


def main(environment: Path) -> int:
    """Start a run, follow it to its end, and return the exit code."""
    try:
        conf = json.loads(os.environ.get("CONF") or "{}")
    except json.JSONDecodeError as error:
        sys.exit(f"CONF is not JSON: {error}")
    with sign_in(environment) as airflow:
        run = start(airflow, os.environ.get("DAG") or find_dag(airflow, os.environ["PIPELINE"]), conf)
        print(f"{airflow.address}{run.removeprefix('/api/v2').replace('/dagRuns/', '/runs/')}")
        state = follow(airflow, run)
        print_results(airflow, run)
    print({"success": "the run succeeded", "failed": "the run failed"}[state])
    return 0 if state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
