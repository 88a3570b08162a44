import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.airflow_pages import NoChromiumError, launch


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Skip without Chromium; where everything is promised (REQUIRE_DOCKER=1), fail instead."""
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except NoChromiumError as reason:
            if os.environ.get("REQUIRE_DOCKER") == "1":
                pytest.fail(str(reason))
            pytest.skip(str(reason))
        yield browser
        browser.close()
