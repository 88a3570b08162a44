"""Steps in Airflow's user interface, for the browser tests and the screenshots."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Page, Playwright, expect

TIMEOUT_MS = 60_000  # a page may be slow on a busy machine


class NoChromiumError(Exception):
    pass


def launch(playwright: Playwright) -> Browser:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise NoChromiumError("there is no chromium on the path: install it (on Debian: apt install chromium)")
    # The sandbox of Chromium needs rights that a CI container lacks.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return playwright.chromium.launch(executable_path=path, args=arguments)


def open_page(chromium: Browser, address: str) -> Page:
    """Open a window of a user who has not signed in."""
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    return context.new_page()


def sign_in(page: Page, name: str, password: str) -> None:
    page.goto("/")
    page.locator("#username").fill(name)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Home", exact=True).first).to_be_visible()


def open_form(page: Page) -> None:
    """Open the trigger form from the page of a DAG."""
    # The list of DAGs has such a button too, which may still be visible.
    expect(page.get_by_role("link", name="Overview", exact=True)).to_be_visible()
    page.get_by_test_id("trigger-dag-button").click()
    expect(page.get_by_role("dialog").locator("[name=element_n_clusters]")).to_be_visible()
