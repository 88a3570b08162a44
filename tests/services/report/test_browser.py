"""The page as a browser shows it."""

import shutil

import pytest

from services.report.page import render

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright to look at the page")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium to look at the page")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.fixture
def show(browser, data, tmp_path):
    """Open the report; `noticed` collects what the browser asks for and what it complains about."""
    contexts = []

    def open_page(*, width=1280, **options):
        file = tmp_path / "report.html"
        file.write_text(render(data), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.noticed = []
        page.on("request", lambda request: page.noticed.append(request.url))
        page.on("console", lambda message: page.noticed.append(message.text))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_screen_is_too_narrow_for_the_page(show, width):
    assert show(width=width).evaluate("document.documentElement.scrollWidth") == width


def test_the_browser_asks_for_the_page_alone_and_has_nothing_to_complain_about(show):
    page = show()
    assert page.noticed == [page.url]


def test_it_is_complete_where_scripts_are_forbidden(show):
    page = show(java_script_enabled=False)
    assert page.locator("svg").count() == 15
    assert page.locator("svg").first.is_visible()


def test_pictures_follow_light_and_dark(show):
    read = """() => [document.body, document.querySelector("svg text")].map(
        (element, place) => getComputedStyle(element)[place ? "fill" : "backgroundColor"])"""
    light, dark = (show(color_scheme=scheme).evaluate(read) for scheme in ("light", "dark"))
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_print_is_light_even_where_the_screen_is_dark(show):
    page = show(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_texts_in_pictures_are_legible_on_a_phone(show):
    sizes = show(width=375).evaluate("""() => [...document.querySelectorAll("svg text")].map(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)""")
    assert min(sizes) >= 8


def test_no_text_leaves_its_picture(show):
    cut = show(width=375).evaluate("""() => [...document.querySelectorAll("svg text")].filter(text => {
        const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();
        return inner.left < outer.left - 1 || inner.right > outer.right + 1
            || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
    }).map(text => text.textContent)""")
    assert cut == []
