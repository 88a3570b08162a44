"""Effects of a run in the real stack: the note, the asset and its consumer, and notifications of failures."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder
from tests.docker.commands import REPOSITORY, docker
from tests.docker.stack import DAG, Stack, path_of
from tests.stagekit.airflow.receivers import Hook, Mailbox, listening_hook, listening_mailbox, text_of

pytestmark = pytest.mark.needs_docker

WAITING_DAG = "customer_segment_changes"
CHANGED = {"k_values": [2, 3, 4, 5], "n_clusters": 3, "random_state": 11, "publish": "always"}
HELD_BACK = {"k_values": [2, 3], "min_silhouette": 1.0}


def events_of(stack: Stack, run: dict[str, Any]) -> list[dict[str, Any]]:
    events = stack.get("assets/events?limit=100")["asset_events"]
    return [event for event in events if event["source_run_id"] == run["dag_run_id"]]


def notifications_of(run: dict[str, Any], hook: Hook) -> list[dict[str, Any]]:
    return arrived(lambda: [message for message in hook.got if message["run_id"] == run["dag_run_id"]])


def arrived(look: Callable[[], list[Any]], seconds: float = 120) -> list[Any]:
    """Wait until the function returns something; a failure is reported when the run has ended, or soon after."""
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def published(stack: Stack) -> dict[str, Any]:
    return stack.run(CHANGED)


@pytest.fixture(scope="module")
def receivers(stack: Stack) -> Iterator[tuple[Hook, Mailbox]]:
    """Start a web server and a mail server on the host, and configure them in Airflow like an operator."""
    network = f"{stack.project}_default"
    gateway = docker("network", "inspect", network, "--format={{(index .IPAM.Config 0).Gateway}}")
    client, api = stack.client(), f"{stack.address}/api/v2"
    with listening_hook(gateway) as hook, listening_mailbox(gateway) as mailbox:
        options = json.dumps({"disable_ssl": True, "disable_tls": True, "from_email": "airflow@bank.test"})
        address = f"{hook.address}/services/hidden-path"
        made = [
            ("connections", "customer_segmentation_webhook", {"conn_type": "http", "host": address}),
            ("connections", "smtp_default", {"conn_type": "smtp", "host": gateway, "port": mailbox.port, "extra": options}),
            ("variables", "customer_segmentation_mail_to", {"value": "team@bank.test"}),
        ]
        for kind, name, body in made:
            named = {"connection_id": name} if kind == "connections" else {"key": name}
            answer = client.post(f"{api}/{kind}", json={**named, **body}, timeout=30)
            assert answer.status_code == 201, answer.text
        yield hook, mailbox
        for kind, name, _ in made:
            client.delete(f"{api}/{kind}/{name}", timeout=30)


@pytest.fixture(scope="module")
def held_back(stack: Stack, receivers: tuple[Hook, Mailbox], published: dict[str, Any]) -> dict[str, Any]:
    return stack.run(HELD_BACK)


def test_a_published_run_updates_the_asset_and_starts_its_consumer(stack: Stack, published: dict[str, Any]) -> None:
    [event] = events_of(stack, published)
    assert event["name"] == "active_segments"
    assert event["extra"] == {"run": published["dag_run_id"], "k": 3, "customers": 8939}
    [started] = event["created_dagruns"]
    stack.wait_for(path_of(started["run_id"], WAITING_DAG), lambda run: run["state"] == "success")
    manifest = json.loads((stack.volume / "runs" / run_folder(published["dag_run_id"]) / "changes" / MANIFEST_NAME).read_text())
    assert manifest["result"]["customers"] == 8939


def test_an_older_list_is_rewritten_for_the_requested_run(stack: Stack, published: dict[str, Any]) -> None:
    run = stack.run({"run": published["dag_run_id"]}, WAITING_DAG)
    assert stack.result(run, "list_changes")["run"] == published["dag_run_id"]


def test_the_curl_lines_of_the_rest_page_start_a_run(stack: Stack) -> None:
    block = next(
        block for block in (REPOSITORY / "docs/rest-api.md").read_text().split("```") if block.startswith("sh\ntoken=")
    )
    script = block.removeprefix("sh\n").replace("localhost:8080", stack.address.removeprefix("http://"))
    ended = subprocess.run(
        ["sh", "-euc", script.replace('"..."', json.dumps(stack.secrets["AIRFLOW_ADMIN_PASSWORD"]))],
        capture_output=True,
        text=True,
    )
    started = json.loads(ended.stdout)
    assert started["conf"]["k_values"] == [2, 3, 4], ended
    stack.client().patch(f"{stack.address}/api/v2/{path_of(started['dag_run_id'])}", json={"state": "failed"}, timeout=30)


def test_a_run_that_was_not_published_has_a_note_and_updates_nothing(stack: Stack, held_back: dict[str, Any]) -> None:
    assert held_back["state"] == "success"
    assert "not published" in stack.get(path_of(held_back["dag_run_id"]))["note"]
    assert events_of(stack, held_back) == []


def test_a_run_that_was_not_published_is_reported_to_configured_receivers(
    stack: Stack, receivers: tuple[Hook, Mailbox], held_back: dict[str, Any]
) -> None:
    hook, mailbox = receivers
    [notification] = notifications_of(held_back, hook)
    assert (notification["event"], notification["task_id"]) == ("not_published", "segment_customers")
    assert "silhouette" in notification["reason"]
    assert notification["url"].startswith(f"{stack.address}/dags/{DAG}/runs/")
    assert [mail["Subject"] for mail in mailbox.got if notification["url"] in text_of(mail)] == [
        f"{DAG}: a run was not published"
    ]


def test_a_wrong_variable_fails_the_first_task_in_one_line_which_is_reported_and_does_not_change_the_dag(
    stack: Stack, receivers: tuple[Hook, Mailbox]
) -> None:
    hook, _ = receivers
    variables = f"{stack.address}/api/v2/variables"
    stack.client().post(variables, json={"key": "customer_segmentation", "value": '{"k_values": "all"}'}, timeout=30)
    try:
        run = stack.run({})
        states = {
            one["task_id"]: one["state"] for one in stack.get(f"{path_of(run['dag_run_id'])}/taskInstances")["task_instances"]
        }
        assert states.pop("extract_customer_data") == "failed"
        assert set(states.values()) == {"upstream_failed"}
        reason = 'failed (64, invalid settings): the Airflow Variable customer_segmentation sets k_values to "all"'
        assert [line for line in stack.log(run, "extract_customer_data") if line.startswith(reason)]
        [notification] = notifications_of(run, hook)
        assert (notification["event"], notification["task_id"]) == ("failed", "extract_customer_data")
        assert notification["reason"].startswith(reason)
        assert stack.get("importErrors")["import_errors"] == []
    finally:
        stack.client().delete(f"{variables}/customer_segmentation", timeout=30)


def test_an_unreachable_receiver_does_not_affect_others_and_its_address_is_not_logged(
    stack: Stack, receivers: tuple[Hook, Mailbox]
) -> None:
    _, mailbox = receivers
    connection = f"{stack.address}/api/v2/connections/customer_segmentation_webhook"
    client = stack.client()
    before = client.get(connection, timeout=30).json()
    closed = {"connection_id": before["connection_id"], "conn_type": "http", "host": "http://127.0.0.1:9/services/hidden-path"}
    assert client.patch(connection, json=closed, timeout=30).status_code == 200
    try:
        run = stack.run({"feature_columns": ["BALANCE", "NO_SUCH_COLUMN"]})
        mails = arrived(lambda: [mail for mail in mailbox.got if run["dag_run_id"] in text_of(mail)])
    finally:
        client.patch(connection, json=closed | {"host": before["host"]}, timeout=30)
    assert [mail["Subject"] for mail in mails] == [f"{DAG}: extract_customer_data failed"]
    assert "NO_SUCH_COLUMN" in text_of(mails[0])

    scheduler = stack.containers()["scheduler"]["Id"]
    logs = docker("exec", scheduler, "grep", "-rhE", "could not notify|hidden-path", "/opt/airflow/logs")
    assert "could not notify by webhook, Connection customer_segmentation_webhook (ConnectionError)" in logs
    assert "hidden-path" not in logs


def test_the_log_of_a_stage_is_folded_and_its_result_is_not(stack: Stack, published: dict[str, Any]) -> None:
    folded, seen = in_sections(stack.log(published, "segment_customers"))
    assert [line for line in folded if "k=3, compared with run" in line]
    assert [line for line in seen if line.startswith("result: {")]


def test_the_reason_of_a_failure_is_last_and_not_folded(stack: Stack) -> None:
    run = stack.run({"feature_columns": ["BALANCE", "NO_SUCH_COLUMN"]})
    _, seen = in_sections(stack.log(run, "extract_customer_data"))
    assert seen[-2].startswith("failed (65, invalid data)")
    assert seen[-1].startswith("to replay this stage by hand: docker run")


def in_sections(lines: list[str]) -> tuple[list[str], list[str]]:
    """Separate the lines that Airflow's UI folds from those that it shows at once."""
    folded, seen, inside = [], [], False
    for line in lines:
        if line.startswith(("::group::", "::endgroup::")):
            inside = line.startswith("::group::")
        else:
            (folded if inside else seen).append(line)
    return folded, seen
