"""Take the screenshots of the README, from a running stack with a finished run: `make screenshots`.

python -m tests.browser.take_screenshots .env docs/images
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import requests
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser.airflow_pages import NoChromiumError, launch, open_form, open_page, sign_in

DAG = "customer_segmentation_lab1"


def last_finished_run(address: str, password: str) -> str:
    """Return the address of its page, beginning with a slash."""
    answer = requests.post(f"{address}/auth/token", json={"username": "admin", "password": password}, timeout=30)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    query = {"state": "success", "order_by": "-run_after", "limit": 1}
    runs = requests.get(f"{address}/api/v2/dags/{DAG}/dagRuns", query, headers=headers, timeout=30).json()["dag_runs"]
    if not runs:
        sys.exit("no run has succeeded yet: `make trigger` first")
    return f"/dags/{DAG}/runs/{quote(runs[0]['dag_run_id'], safe='')}"


def show_form(page: Page, _: str) -> Locator:
    page.set_viewport_size({"width": 1280, "height": 1700})  # all of it, without scrolling
    page.goto(f"/dags/{DAG}")
    open_form(page)
    form = page.get_by_role("dialog")
    expect(form.locator("[name=element_publish]")).to_be_attached()  # the last field of the section
    return form


def show_report(page: Page, run: str) -> Locator:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(run)
    page.locator("a[title=Report]").click()
    expect(page.frame_locator("iframe[title=Report]").locator("svg").first).to_be_visible()
    return page.locator("body")


def show_graph(page: Page, run: str) -> Locator:
    page.set_viewport_size({"width": 1280, "height": 560})
    page.goto(run)
    page.get_by_role("button", name="Show Graph").click()
    page.get_by_role("button", name="Collapse Details Panel").click()
    expect(page.locator(".react-flow__node").first).to_be_visible()
    page.locator(".react-flow__controls-fitview").click()
    return page.locator("body")


# Airflow keeps showing the graph once it has been selected, so it comes last.
SCREENSHOTS: dict[str, Callable[[Page, str], Locator]] = {
    "trigger-form": show_form,
    "report-tab": show_report,
    "graph": show_graph,
}


def main(environment: Path, folder: Path) -> None:
    lines = (line.partition("=") for line in environment.read_text().splitlines())
    values = {name: value.strip("'") for name, _, value in lines}
    address, password = f"http://127.0.0.1:{values['AIRFLOW_PORT']}", values["AIRFLOW_ADMIN_PASSWORD"]
    run = last_finished_run(address, password)
    with sync_playwright() as playwright:
        try:
            page = open_page(launch(playwright), address)
        except NoChromiumError as error:
            sys.exit(str(error))
        sign_in(page, "admin", password)
        for name, show in SCREENSHOTS.items():
            element = show(page, run)
            page.wait_for_timeout(2000)  # until animations have ended
            file = folder / f"{name}.png"
            element.screenshot(path=file)
            print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
