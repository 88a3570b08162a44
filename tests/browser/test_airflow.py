"""From the form to the report, and what those may not do who may only look: the stack that `make up` starts, in a browser."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder
from tests.browser.airflow_pages import open_form, open_page, sign_in
from tests.docker.stack import Stack
from tests.stagekit.airflow.conftest import write_report

pytestmark = pytest.mark.needs_docker

DAG = "customer_segmentation_lab1"
FILLED_IN = {
    "n_clusters": 4,
    "feature_columns": ["BALANCE", "PURCHASES", "CREDIT_LIMIT", "PAYMENTS"],
    "n_init": 3,
    "max_unassigned": 0.5,
}
RUN_ENDS_MS = 600_000  # behind the run of last Monday, which a new stack begins with


def page_of(run: str, dag: str = DAG) -> str:
    return f"/dags/{dag}/runs/{quote(run, safe='')}"


def add_user(stack: Stack, role: str) -> tuple[str, str]:
    """Add somebody as an admin would; returns name and password."""
    name = f"{role.lower()}-{secrets.token_hex(3)}"
    said = stack.make("add-user", USER_NAME=name, ROLE=role).stdout
    return name, said.split()[-1]


@pytest.fixture(scope="module")
def admin(chromium: Browser, stack: Stack) -> Page:
    page = open_page(chromium, stack.address)
    sign_in(page, "admin", stack.secrets["AIRFLOW_ADMIN_PASSWORD"])
    return page


@pytest.fixture(scope="module")
def viewer(chromium: Browser, stack: Stack) -> Page:
    page = open_page(chromium, stack.address)
    sign_in(page, *add_user(stack, "Viewer"))
    return page


@pytest.fixture(scope="module")
def run(admin: Page, stack: Stack) -> str:
    """The id of a run that was started from the form with four settings changed, and watched until it had succeeded."""
    run = f"campaign:{secrets.token_hex(3)}+1"
    admin.goto("/dags")
    admin.get_by_placeholder("Search Dags").fill("Customer")
    admin.get_by_role("link", name="Customer segmentation").first.click()

    open_form(admin)
    form = admin.get_by_role("dialog")
    form.locator("[name=element_n_clusters]").fill("4")
    form.locator("[name=element_feature_columns]").fill("\n".join(FILLED_IN["feature_columns"]))
    form.get_by_role("button", name="Train", exact=True).click()
    form.locator("[name=element_n_init]").fill("3")
    form.get_by_role("button", name="Segment", exact=True).click()
    form.locator("[name=element_max_unassigned]").fill("0.5")
    form.get_by_role("button", name="Advanced Options").click()
    form.locator("[name=dagRunId]").fill(run)
    form.get_by_test_id("trigger-dag-submit").click()
    expect(form).to_be_hidden()

    admin.goto(page_of(run))
    header = admin.get_by_role("heading", name=run).locator("..")
    expect(header.get_by_text("Success", exact=True)).to_be_visible(timeout=RUN_ENDS_MS)
    return run


# --- who may do everything


def test_what_the_form_was_filled_in_with_is_what_the_stages_did(stack: Stack, run: str) -> None:
    folder = stack.volume / "runs" / run_folder(run)
    manifests = [json.loads(path.read_text()) for path in folder.glob(f"*/{MANIFEST_NAME}")]
    from_form = {
        name: manifest["settings"][name]
        for manifest in manifests
        for name, source in manifest["setting_sources"].items()
        if source == "form"
    }
    assert from_form == FILLED_IN


def test_what_came_of_a_run_stands_on_its_page(admin: Page, run: str) -> None:
    admin.goto(page_of(run))
    expect(admin.get_by_text("4 segments, 8,939 customers, published").first).to_be_visible()


def test_the_report_is_a_tab_of_the_runs_page(admin: Page, run: str) -> None:
    admin.goto(page_of(run))
    admin.locator("a[title=Report]").click()
    report = admin.frame_locator("iframe[title=Report]")
    expect(report.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")
    expect(report.get_by_text(run).first).to_be_visible()
    expect(report.locator("svg").first).to_be_visible()


def test_what_is_in_force_is_one_click_away(admin: Page, run: str) -> None:
    admin.goto("/")
    admin.get_by_test_id("nav-sidebar").get_by_role("link", name="Segments").click()
    report = admin.frame_locator("iframe[title=Segments]")
    expect(report.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")


def test_a_run_that_has_not_ended_says_so_and_then_shows_its_report_by_itself(admin: Page, run: str, stack: Stack) -> None:
    conf = {"k_values": [3, 4], "n_clusters": 3, "publish": "never"}
    body = {"logical_date": None, "conf": conf}
    answer = stack.signed_in.post(f"{stack.address}/api/v2/dags/{DAG}/dagRuns", json=body, timeout=30)
    admin.goto(f"{page_of(answer.json()['dag_run_id'])}/plugin/report")
    heading = admin.frame_locator("iframe[title=Report]").get_by_role("heading", level=1)
    expect(heading).to_have_text("No report yet")
    expect(heading).to_have_text("3 segments among 8,939 customers", timeout=RUN_ENDS_MS)


def test_a_run_that_failed_says_why_in_place_of_a_report(admin: Page, stack: Stack) -> None:
    body = {"logical_date": None, "conf": {"data_file": "data/none.csv"}}
    answer = stack.signed_in.post(f"{stack.address}/api/v2/dags/{DAG}/dagRuns", json=body, timeout=30)
    run = answer.json()["dag_run_id"]
    deadline = time.monotonic() + RUN_ENDS_MS / 1000
    while stack.get(f"dags/{DAG}/dagRuns/{quote(run, safe='')}")["state"] != "failed" and time.monotonic() < deadline:
        time.sleep(0.5)
    admin.goto(f"{page_of(run)}/plugin/report")
    page = admin.frame_locator("iframe[title=Report]")
    expect(page.get_by_role("heading", level=1)).to_have_text("The run failed")
    expect(page.get_by_text("Task Extract customers: failed (66")).to_be_visible()
    expect(page.get_by_text("data/none.csv")).to_be_visible()


def test_every_task_links_to_the_report_and_to_what_replays_it(admin: Page, run: str) -> None:
    for name, target in {"Report": "/plugin/report", "Replay command": "/rendered_templates"}.items():
        admin.goto(f"{page_of(run)}/tasks/segment_customers/details")
        admin.locator(f"a[href$='{target}']", has_text=name).click()
        admin.wait_for_url(f"**{target}")
    expect(admin.get_by_text("docker_run").first).to_be_visible()  # where the replay command stands


@pytest.fixture
def hostile_report(stack: Stack) -> Iterator[str]:
    """A report that tries what it can, as if somebody who writes to the volume had left it there; its run id."""
    text = """<h1>Hostile</h1><script>document.title = "taken over"; top.location = "about:blank"</script>
        <img src=x onerror="document.title = 'taken over'"><img src="/api/v2/version"><iframe src="/api/v2/version"></iframe>
        <form action="/api/v2/dags" target="_top"><button>Go</button></form>
        <meta http-equiv="refresh" content="0;url=/logout">"""
    folder = write_report(stack.volume, "hostile", text)
    yield "hostile"
    shutil.rmtree(folder.parent)


def test_a_report_can_reach_nothing(chromium: Browser, stack: Stack, hostile_report: str) -> None:
    page = open_page(chromium, stack.address)
    sign_in(page, "admin", stack.secrets["AIRFLOW_ADMIN_PASSWORD"])
    page.goto("about:blank")
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(f"/segments/dags/{DAG}/runs/{hostile_report}")
    page.get_by_role("button", name="Go").click()
    page.wait_for_timeout(2000)  # for what it might try
    assert page.title() == ""
    assert answered == [f"{stack.address}/segments/dags/{DAG}/runs/{hostile_report}"]


# --- who may only look


def test_a_viewer_sees_runs_and_reports(viewer: Page, run: str) -> None:
    viewer.goto(page_of(run))
    viewer.locator("a[title=Report]").click()
    report = viewer.frame_locator("iframe[title=Report]")
    expect(report.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")


def test_a_viewer_who_triggers_is_refused(viewer: Page, stack: Stack) -> None:
    # Airflow shows the button to everybody.
    viewer.goto(f"/dags/{DAG}")
    open_form(viewer)
    with viewer.expect_response(lambda answer: answer.request.method == "POST" and "dagRuns" in answer.url) as answered:
        viewer.get_by_test_id("trigger-dag-submit").click()
    assert answered.value.status == 403
    expect(viewer.get_by_test_id("trigger-dag-submit")).to_be_disabled()


def test_a_viewer_is_refused_by_the_rest_api_too(stack: Stack) -> None:
    name, password = add_user(stack, "Viewer")
    answer = requests.post(f"{stack.address}/auth/token", json={"username": name, "password": password}, timeout=30)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    runs = f"{stack.address}/api/v2/dags/{DAG}/dagRuns"
    assert requests.get(runs, headers=headers, timeout=30).status_code == 200
    assert requests.post(runs, json={"logical_date": None, "conf": {}}, headers=headers, timeout=30).status_code == 403
    assert requests.patch(runs[: -len("/dagRuns")], json={"is_paused": True}, headers=headers, timeout=30).status_code == 403


# --- who may not even look


def test_who_has_not_signed_in_is_asked_to_and_sees_nothing(chromium: Browser, stack: Stack, run: str) -> None:
    page = open_page(chromium, stack.address)
    page.goto(f"{page_of(run)}/plugin/report")
    page.wait_for_url("**/auth/login/**")
    for address in (f"/segments{page_of(run)}", "/segments/in-force"):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 401
        expect(page.get_by_role("heading")).to_have_text("Please sign in")


def test_a_user_without_rights_sees_no_report(chromium: Browser, stack: Stack, run: str) -> None:
    name, password = add_user(stack, "Public")
    answer = requests.post(f"{stack.address}/auth/token", json={"username": name, "password": password}, timeout=30)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    for address in (f"/segments{page_of(run)}", "/segments/in-force"):
        assert requests.get(stack.address + address, headers=headers, timeout=30).status_code == 403
