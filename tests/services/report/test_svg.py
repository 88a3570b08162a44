import re
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

from services.report.svg import Chart, to_svg
from services.report.theme import CSS_VARIABLES, FOREGROUND, RC_PARAMS, shorten


def chart(text="hello", title="A title", description="What it shows"):
    with rc_context(RC_PARAMS):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().set_xlabel(text, color=FOREGROUND)
    return Chart(figure, title, description)


def test_text_is_escaped():
    svg = to_svg(chart("<b>$5 & more$</b>"), "p", CSS_VARIABLES)
    assert "&lt;b&gt;$5 &amp; more$&lt;/b&gt;</text>" in svg


def test_a_chart_has_a_text_alternative():
    svg = to_svg(chart(title="Sizes <1>", description="Seven & three"), "p", CSS_VARIABLES)
    assert 'role="img" aria-labelledby="p-title p-desc"><title id="p-title">Sizes &lt;1&gt;</title>' in svg
    assert '<desc id="p-desc">Seven &amp; three</desc>' in svg


def test_colours_are_variables_of_the_page():
    svg = to_svg(chart(), "p", CSS_VARIABLES)
    assert "fill:var(--ink)" in svg
    assert not set(re.findall("#[0-9a-f]{6}", svg)) & set(CSS_VARIABLES)


def test_the_chart_sets_neither_font_nor_style_sheet():
    svg = to_svg(chart(), "p", CSS_VARIABLES)
    assert "font-family" not in svg
    assert "<style" not in svg


def test_two_charts_have_different_ids():
    one, other = (set(re.findall(r'id="([^"]+)"', to_svg(chart(), name, CSS_VARIABLES))) for name in ("one", "other"))
    assert one
    assert not one & other


def test_every_reference_has_a_target():
    svg = to_svg(chart(), "p", CSS_VARIABLES)
    assert set(re.findall(r'(?:href="|url\()#([\w-]+)', svg)) <= set(re.findall(r'id="([^"]+)"', svg))


def test_the_same_chart_gives_the_same_text():
    assert to_svg(chart(), "p", CSS_VARIABLES) == to_svg(chart(), "p", CSS_VARIABLES)


def test_characters_that_the_font_lacks_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "中" in to_svg(chart("中"), "p", CSS_VARIABLES)


def test_names_are_shortened_and_characters_that_xml_cannot_contain_are_replaced():
    assert shorten("a\x00b\nc\u202ed", 20) == "a b c d"
    assert shorten("high balance, few purchases", 20) == "high balance, few …"
