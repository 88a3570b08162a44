"""The page as a browser shows it."""

import pytest

from services.report.page import render


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(data), encoding="utf-8")
    return file


@pytest.fixture
def show(chromium, file):
    """Open the report; `events` collects the requests and console messages of the browser."""
    contexts = []

    def open_page(*, width=1280, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.events = []
        page.on("request", lambda request: page.events.append(request.url))
        page.on("console", lambda message: page.events.append(message.text))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_screen_is_too_narrow_for_the_page(show, width):
    assert show(width=width).evaluate("document.documentElement.scrollWidth") == width


def test_the_browser_requests_only_the_page_and_logs_nothing(show):
    page = show()
    assert page.events == [page.url]


def test_the_page_is_complete_without_scripts(show):
    page = show(java_script_enabled=False)
    assert page.locator("svg").count() == 15
    assert page.locator("svg").first.is_visible()


def test_charts_follow_light_and_dark_mode(show):
    read = """() => [document.body, document.querySelector("svg text")].map(
        (element, place) => getComputedStyle(element)[place ? "fill" : "backgroundColor"])"""
    light, dark = (show(color_scheme=scheme).evaluate(read) for scheme in ("light", "dark"))
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_print_is_light_in_dark_mode(show):
    page = show(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_texts_in_charts_are_legible_on_a_phone(show):
    sizes = show(width=375).evaluate("""() => [...document.querySelectorAll("svg text")].map(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)""")
    assert min(sizes) >= 8


def test_no_text_is_cut_off_by_its_chart(show):
    cut = show(width=375).evaluate("""() => [...document.querySelectorAll("svg text")].filter(text => {
        const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();
        return inner.left < outer.left - 1 || inner.right > outer.right + 1
            || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
    }).map(text => text.textContent)""")
    assert cut == []


def test_no_chart_or_card_is_cut_by_a_page_of_a4(show):
    page = show()
    page.emulate_media(media="print")
    broken = page.evaluate("""() => [...document.querySelectorAll("svg, .card, figure, tr")].filter(element => {
        for (let one = element; one; one = one.parentElement)
            if (getComputedStyle(one).breakInside === "avoid") return false;
        return true;
    }).length""")
    assert broken == 0
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")


def test_headings_and_tables_structure_the_page_for_a_screen_reader(show):
    page = show()
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("heading", level=2).count() == 6
    assert page.get_by_role("navigation", name="Sections").get_by_role("link").count() == 6
    assert page.get_by_role("img").count() == page.locator("svg").count()
    unlabelled = page.evaluate("""() => [...document.querySelectorAll("svg")].filter(svg =>
        svg.getAttribute("aria-labelledby").split(" ").some(id => !document.getElementById(id).textContent)).length""")
    assert unlabelled == 0
