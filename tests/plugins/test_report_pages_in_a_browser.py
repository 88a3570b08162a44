"""The pages as a browser shows them, in frames of Airflow's own server."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from tests.plugins.conftest import write_report
from tests.plugins.test_report_pages import RUN, page_of

HOSTILE = """<h1>Hostile</h1><script>document.title = "taken over"; top.location = "about:blank"</script>
    <img src=x onerror="document.title = 'taken over'"><img src="/api/v2/version"><iframe src="/api/v2/version"></iframe>
    <form action="/api/v2/dags" target="_top"><button>Go</button></form><meta http-equiv="refresh" content="0;url=/logout">"""


@pytest.fixture(scope="module")
def address(airflow_app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(airflow_app, host="127.0.0.1", port=0, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(chromium: Any, address: str, token: Any) -> Iterator[Page]:
    """A window of a signed-in viewer, with a cookie like Airflow's."""
    context = chromium.new_context(base_url=address)
    context.add_cookies([{"name": "_token", "value": token("VIEWER"), "url": address, "sameSite": "Lax", "httpOnly": True}])
    yield context.new_page()
    context.close()


def show_in_frame(page: Page, path: str) -> Any:
    frame = f'<iframe src="{path}" width="1200" height="800"></iframe>'
    page.route("**/frame", lambda route: route.fulfill(body=frame, content_type="text/html"))  # codespell:ignore fulfill
    page.goto("/frame")
    return page.frame_locator("iframe")


def test_a_report_can_reach_nothing(page, volume, address):
    write_report(volume, "hostile", HOSTILE)
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(page_of("hostile"))
    page.get_by_role("button", name="Go").click()
    page.wait_for_timeout(1000)  # time for what it might do
    assert page.title() == ""
    assert answered == [f"{address}{page_of('hostile')}"]


def test_a_waiting_page_refreshes_until_the_report_is_there(page, volume, airflow_run):
    def hasten(route):
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"refresh": "1"})  # codespell:ignore fulfill

    airflow_run(RUN, "running")
    page.route(f"**{page_of(RUN)}", hasten)
    frame = show_in_frame(page, page_of(RUN))
    expect(frame.get_by_role("heading")).to_have_text("No report yet")
    write_report(volume, RUN, "<h1>Five segments</h1>")
    expect(frame.get_by_role("heading")).to_have_text("Five segments", timeout=20_000)
