"""The whole stack: results, access, and stopping it."""

import os
import re
import time
from typing import Any

import pytest
import requests

from tests.docker.commands import docker, make
from tests.docker.stack import DAG, Stack, path_of

pytestmark = pytest.mark.needs_docker

TASKS = ["extract_customer_data", "transform_for_clustering", "train_kmeans_customer_model", "evaluate_customer_model"]
SERVICES = {"postgres", "api-server", "scheduler", "dag-processor"}


@pytest.fixture(scope="module")
def run(stack: Stack) -> dict[str, Any]:
    """A run with the settings of the lab that any client has triggered, after its end."""
    stack.wait_until_idle()
    return stack.run({})


def test_every_service_is_healthy(stack: Stack) -> None:
    states = {name: container["State"]["Health"]["Status"] for name, container in stack.containers().items()}
    assert states == dict.fromkeys(SERVICES, "healthy")


def test_the_dags_are_there_and_unpaused(stack: Stack) -> None:
    assert stack.get("importErrors")["import_errors"] == []
    dags = stack.get("dags")["dags"]
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags} == {
        DAG: False,
        "customer_segment_changes": False,
        "housekeeping": False,
    }


def test_a_run_triggered_through_the_rest_api_ends_in_success(stack: Stack, run: dict[str, Any]) -> None:
    tasks = stack.get(f"{path_of(run['dag_run_id'])}/taskInstances")["task_instances"]
    states = {task["task_id"]: task["state"] for task in tasks}
    assert set(states) >= set(TASKS)
    assert set(states.values()) == {"success"}
    assert run["state"] == "success"


def test_the_results_are_the_labs(stack: Stack, run: dict[str, Any]) -> None:
    train, evaluate = (stack.result(run, task) for task in TASKS[2:])
    assert set(train) == {"k_values", "sse"}
    assert train["k_values"] == list(range(2, 11))
    assert sorted(train["sse"], reverse=True) == train["sse"]
    assert type(evaluate) is int


def test_each_task_shows_the_log_of_its_stage(stack: Stack, run: dict[str, Any]) -> None:
    lines = stack.log(run, TASKS[2])
    assert any("k=5 SSE=" in line for line in lines)
    assert not any("Could not read served logs" in line for line in lines)


def test_what_the_stages_wrote_belongs_to_the_user_who_started_the_stack(stack: Stack, run: dict[str, Any]) -> None:
    written = [path for path in (stack.volume / "runs").rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"customers.pkl", "features.pkl", "kmeans_custom.sav", "evaluation.json"}
    assert {path.stat().st_uid for path in written} == {os.getuid() or 50000}
    assert (stack.volume / "model" / "kmeans_custom.sav").exists()


def test_no_other_user_of_the_machine_reads_what_the_stages_wrote(stack: Stack, run: dict[str, Any]) -> None:
    for folder in ("runs", "model"):
        for path in (stack.volume / folder, *(stack.volume / folder).rglob("*")):
            assert path.stat().st_mode & 0o007 == 0, path


def test_a_run_for_a_past_date_publishes_nothing_and_its_note_gives_the_reason(stack: Stack, run: dict[str, Any]) -> None:
    register = (stack.volume / "model" / "segments.json").read_bytes()
    ended = stack.run({"k_values": [3, 4]}, logical_date="2026-01-05T09:00:00Z")
    assert ended["state"] == "success"
    assert ended["note"].startswith("Not published, since this run is for a past date")
    assert (stack.volume / "model" / "segments.json").read_bytes() == register


def test_no_stage_is_left_on_the_engine(stack: Stack, run: dict[str, Any]) -> None:
    assert docker("ps", "--all", "--quiet", "--filter=label=customer-segmentation.dag", f"--filter=volume={stack.volume}") == ""


def test_make_trigger_follows_a_run_and_prints_its_results(stack: Stack) -> None:
    ended = stack.make("trigger", CONF='{"k_values": [2, 3, 4]}')
    assert [line for line in ended.stdout.splitlines() if "success" in line and TASKS[3] in line]
    assert '"k_values": [2, 3, 4]' in ended.stdout
    assert ended.stdout.splitlines()[-1] == "the run succeeded"


def test_make_prune_lists_what_it_would_remove_and_then_removes_it(stack: Stack) -> None:
    folder = stack.volume / "runs" / "of-last-year"
    (folder / "extract").mkdir(parents=True)
    for path in (folder / "extract", folder):
        os.utime(path, (1, 1))
        os.chown(path, os.getuid() or 50000, 0)
    listed = stack.make("prune", DRY_RUN="1", KEEP="1")
    assert "would remove runs/of-last-year" in listed.stdout
    assert folder.exists()
    pruned = stack.make("prune", KEEP="1")
    assert pruned.stdout.splitlines()[-1] == "the run succeeded"
    assert not folder.exists()
    assert (stack.volume / "data" / "file.csv").exists()
    assert "Checking table dag_run" in pruned.stdout  # by `airflow db clean`
    [run, *_] = stack.get("dags/housekeeping/dagRuns?order_by=-start_date")["dag_runs"]
    assert "the volume is" in run["note"]


def test_make_trigger_prints_the_reason_of_a_failed_run(stack: Stack) -> None:
    ended = stack.make("trigger", check=False, CONF='{"feature_columns": ["BALANCE", "NO_SUCH_COLUMN"]}')
    assert ended.returncode != 0
    assert "NO_SUCH_COLUMN" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "the run failed"


def test_make_trigger_prints_rejections_of_airflow(stack: Stack) -> None:
    ended = stack.make("trigger", check=False, CONF='{"k_values": "many"}')
    assert ended.returncode != 0
    assert "400" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_only_the_api_server_is_published_and_only_on_this_machine(stack: Stack) -> None:
    bindings = {name: container["NetworkSettings"]["Ports"] for name, container in stack.containers().items()}
    published = {
        (name, binding["HostIp"], binding["HostPort"])
        for name, ports in bindings.items()
        for entries in ports.values()
        for binding in entries or []
    }
    assert published == {("api-server", "127.0.0.1", stack.variables["AIRFLOW_PORT"])}


def test_no_service_of_airflow_runs_as_root_or_can_become_it(stack: Stack) -> None:
    for name, container in stack.containers().items():
        assert "no-new-privileges:true" in container["HostConfig"]["SecurityOpt"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert not container["HostConfig"]["Privileged"]
        if name != "postgres":
            assert container["Config"]["User"] == f"{os.getuid() or 50000}:0"
            assert not container["HostConfig"]["CapAdd"]


def test_nothing_but_the_health_and_the_login_answers_without_a_login(stack: Stack) -> None:
    paths = stack.signed_in.get(f"{stack.address}/openapi.json", timeout=30).json()["paths"]
    assert len(paths) > 50
    answered = set()
    for path, methods in paths.items():
        for method in methods:
            url = stack.address + re.sub(r"\{[^}]*\}", "1", path)
            status = requests.request(method, url, json={}, timeout=30, allow_redirects=False).status_code
            if status not in {401, 403}:
                answered.add((path.removeprefix("/api/v2"), status))
    assert answered == {("/monitor/health", 200), ("/version", 200), ("/auth/login", 307), ("/auth/logout", 307)}


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "auth/docs", "auth/openapi.json", "execution/openapi.json"])
def test_the_api_describes_itself_to_signed_in_users_only(stack: Stack, path: str) -> None:
    assert requests.get(f"{stack.address}/{path}", timeout=30).status_code == 401
    assert stack.signed_in.get(f"{stack.address}/{path}", timeout=30).status_code in {200, 404}


def test_no_secret_is_in_the_list_of_processes_or_in_the_logs(stack: Stack) -> None:
    secrets = [stack.secrets[name] for name in ("AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "AIRFLOW_JWT_SECRET")]
    output = docker("compose", f"--project-name={stack.project}", "logs", "--no-color")
    for container in stack.containers().values():
        output += docker("top", container["Id"], "-eo", "pid,args")
    assert "airflow" in output
    assert not [secret for secret in secrets if secret in output]


def test_make_up_a_second_time_keeps_what_is_there(stack: Stack) -> None:
    before = {name: container["Id"] for name, container in stack.containers().items()}
    stack.make("up")
    assert {name: container["Id"] for name, container in stack.containers().items()} == before


def test_only_the_scheduler_reaches_the_docker_socket(stack: Stack) -> None:
    holders = {
        name
        for name, container in stack.containers().items()
        if any("docker.sock" in mount["Source"] for mount in container["Mounts"])
    }
    assert holders == {"scheduler"}


def test_make_down_stops_the_stages_too_and_keeps_the_database(stack: Stack, run: dict[str, Any]) -> None:
    body = {"logical_date": None, "conf": {"n_init": 1000, "publish": "never"}}
    stack.signed_in.post(f"{stack.address}/api/v2/dags/{DAG}/dagRuns", json=body, timeout=30)
    of_stack = [f"--filter=label=customer-segmentation.project={stack.project}", "--filter=status=running"]
    started = time.monotonic()
    while not (
        training := docker("ps", "--quiet", "--no-trunc", *of_stack, f"--filter=label=customer-segmentation.task={TASKS[2]}")
    ):
        assert time.monotonic() - started < 180
        time.sleep(0.2)
    # Like a user who has started the stack on another volume than that of the checkout.
    make("down", **{name: value for name, value in stack.variables.items() if name != "VOLUME"})
    assert training not in docker("ps", "--all", "--quiet", "--no-trunc")
    assert docker("ps", "--all", "--quiet", f"--filter=label=com.docker.compose.project={stack.project}") == ""
    stack.make("up")
    assert stack.get(path_of(run["dag_run_id"]))["state"] == "success"
