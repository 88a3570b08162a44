import re
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

from services.report.svg import Picture, to_svg
from services.report.theme import CSS_OF, INK, STYLE, shorten


def picture(text="hello", title="A title", description="What it shows"):
    with rc_context(STYLE):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().set_xlabel(text, color=INK)
    return Picture(figure, title, description)


def test_text_stays_text_and_nothing_in_it_is_markup():
    svg = to_svg(picture("<b>$5 & more$</b>"), "p", CSS_OF)
    assert "&lt;b&gt;$5 &amp; more$&lt;/b&gt;</text>" in svg


def test_a_picture_can_be_heard():
    svg = to_svg(picture(title="Sizes <1>", description="Seven & three"), "p", CSS_OF)
    assert 'role="img" aria-labelledby="p-title p-desc"><title id="p-title">Sizes &lt;1&gt;</title>' in svg
    assert '<desc id="p-desc">Seven &amp; three</desc>' in svg


def test_colours_are_those_of_the_page():
    svg = to_svg(picture(), "p", CSS_OF)
    assert "fill:var(--ink)" in svg
    assert not set(re.findall("#[0-9a-f]{6}", svg)) & set(CSS_OF)


def test_the_page_gives_the_font_and_is_given_no_style_sheet():
    svg = to_svg(picture(), "p", CSS_OF)
    assert "font-family" not in svg
    assert "<style" not in svg


def test_two_pictures_on_a_page_share_no_id():
    one, other = (set(re.findall(r'id="([^"]+)"', to_svg(picture(), name, CSS_OF))) for name in ("one", "other"))
    assert one
    assert not one & other


def test_every_reference_leads_somewhere():
    svg = to_svg(picture(), "p", CSS_OF)
    assert set(re.findall(r'(?:href="|url\()#([\w-]+)', svg)) <= set(re.findall(r'id="([^"]+)"', svg))


def test_the_same_picture_gives_the_same_text():
    assert to_svg(picture(), "p", CSS_OF) == to_svg(picture(), "p", CSS_OF)


def test_scripts_that_the_font_does_not_know_are_drawn_by_the_page_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "中" in to_svg(picture("中"), "p", CSS_OF)


def test_names_are_cut_and_what_xml_cannot_hold_is_left_out():
    assert shorten("a\x00b\nc\u202ed", 20) == "a b c d"
    assert shorten("high balance, few purchases", 20) == "high balance, few …"
