"""The stack that `make up` starts in a browser: from the form to the report, and the rights of users."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from stagekit.volume.manifest import MANIFEST_NAME
from stagekit.volume.runs import run_folder
from tests.browser.airflow_pages import open_form, open_page, sign_in
from tests.docker.stack import DAG, Stack

pytestmark = pytest.mark.needs_docker

FILLED_IN = {
    "n_clusters": 4,
    "feature_columns": ["BALANCE", "PURCHASES", "CREDIT_LIMIT", "PAYMENTS"],
    "n_init": 3,
    "max_unassigned": 0.5,
}
RUN_ENDS_MS = 600_000  # a new stack runs the schedule's last date first


def page_of(run: str, dag: str = DAG) -> str:
    return f"/dags/{dag}/runs/{quote(run, safe='')}"


def add_user(stack: Stack, role: str) -> tuple[str, str]:
    """Add a user as an administrator would; returns name and password."""
    name = f"{role.lower()}-{secrets.token_hex(3)}"
    output = stack.make("add-user", USER_NAME=name, ROLE=role).stdout
    return name, output.split()[-1]


def token_of(stack: Stack, name: str, password: str) -> dict[str, str]:
    """Return the header with which a client signs in as this user."""
    answer = requests.post(f"{stack.address}/auth/token", json={"username": name, "password": password}, timeout=30)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture(scope="module", autouse=True)
def closed_windows(chromium: Browser) -> Iterator[None]:
    """Close every window after the tests: Airflow's pages poll, which takes a quarter of a core."""
    yield
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="module")
def admin(chromium: Browser, stack: Stack) -> Page:
    page = open_page(chromium, stack.address)
    sign_in(page, "admin", stack.secrets["AIRFLOW_ADMIN_PASSWORD"])
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
    form.locator("[name=element_feature_columns]").fill(", ".join(FILLED_IN["feature_columns"]))
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


# --- administrators


def test_the_stages_use_the_settings_of_the_form(stack: Stack, run: str) -> None:
    folder = stack.volume / "runs" / run_folder(run)
    manifests = [json.loads(path.read_text()) for path in folder.glob(f"*/{MANIFEST_NAME}")]
    from_form = {
        name: manifest["settings"][name]
        for manifest in manifests
        for name, source in manifest["setting_sources"].items()
        if source == "form"
    }
    assert from_form == FILLED_IN


def test_the_result_of_a_run_is_on_its_page(admin: Page, run: str) -> None:
    admin.goto(page_of(run))
    expect(admin.get_by_text("4 segments, 8,939 customers, published").first).to_be_visible()


def test_the_report_is_a_tab_of_the_runs_page(admin: Page, run: str) -> None:
    admin.goto(page_of(run))
    admin.locator("a[title=Report]").click()
    report = admin.frame_locator("iframe[title=Report]")
    expect(report.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")
    expect(report.get_by_text(run).first).to_be_visible()
    expect(report.locator("svg").first).to_be_visible()


def test_the_menu_leads_to_the_list_of_runs_and_from_there_to_a_report(admin: Page, run: str) -> None:
    admin.goto("/")
    admin.get_by_test_id("nav-sidebar").get_by_role("link", name="Segments").click()
    page = admin.frame_locator("iframe[title=Segments]")
    expect(page.get_by_role("row", name="active")).to_contain_text(run)
    page.get_by_role("row", name="active").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")


def test_a_failed_run_has_the_reason_in_place_of_a_report(admin: Page, stack: Stack) -> None:
    run = stack.run({"data_file": "data/none.csv"})["dag_run_id"]
    admin.goto(f"{page_of(run)}/plugin/report")
    page = admin.frame_locator("iframe[title=Report]")
    expect(page.get_by_role("heading", level=1)).to_have_text("The run failed")
    expect(page.get_by_text("Task Extract customers: failed (66")).to_be_visible()
    expect(page.get_by_text("data/none.csv")).to_be_visible()


def test_every_task_links_to_the_report_and_to_its_replay_command(admin: Page, run: str) -> None:
    for name, target in {"Report": "/plugin/report", "Replay command": "/rendered_templates"}.items():
        admin.goto(f"{page_of(run)}/tasks/segment_customers/details")
        admin.locator(f"a[href$='{target}']", has_text=name).click()
        admin.wait_for_url(f"**{target}")
    expect(admin.get_by_text("docker_run").first).to_be_visible()  # the replay command


# --- users with fewer rights


def test_a_viewer_reads_reports_but_can_trigger_and_pause_nothing(chromium: Browser, stack: Stack, run: str) -> None:
    name, password = add_user(stack, "Viewer")
    viewer = open_page(chromium, stack.address)
    sign_in(viewer, name, password)
    viewer.goto(page_of(run))
    viewer.locator("a[title=Report]").click()
    report = viewer.frame_locator("iframe[title=Report]")
    expect(report.get_by_role("heading", level=1)).to_have_text("4 segments among 8,939 customers")

    viewer.goto(f"/dags/{DAG}")  # where Airflow shows the trigger button to every user
    open_form(viewer)
    with viewer.expect_response(lambda answer: answer.request.method == "POST" and "dagRuns" in answer.url) as answered:
        viewer.get_by_test_id("trigger-dag-submit").click()
    assert answered.value.status == 403

    headers = token_of(stack, name, password)
    runs = f"{stack.address}/api/v2/dags/{DAG}/dagRuns"
    assert requests.get(runs, headers=headers, timeout=30).status_code == 200
    assert requests.post(runs, json={"logical_date": None, "conf": {}}, headers=headers, timeout=30).status_code == 403
    assert requests.patch(runs[: -len("/dagRuns")], json={"is_paused": True}, headers=headers, timeout=30).status_code == 403


def test_anonymous_users_and_users_without_a_role_see_no_page(chromium: Browser, stack: Stack, run: str) -> None:
    page = open_page(chromium, stack.address)
    page.goto(f"{page_of(run)}/plugin/report")
    page.wait_for_url("**/auth/login/**")
    headers = token_of(stack, *add_user(stack, "Public"))
    for address in (f"/segments{page_of(run)}", "/segments/active", "/segments/runs"):
        assert requests.get(stack.address + address, timeout=30).status_code == 401
        assert requests.get(stack.address + address, headers=headers, timeout=30).status_code == 403
