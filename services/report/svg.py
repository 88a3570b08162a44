"""Convert a matplotlib figure to inline SVG in the page's colours and fonts, with a text alternative for screen readers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Collection, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


class Chart(NamedTuple):
    """A figure with its texts."""

    figure: Figure
    title: str
    description: str
    """What the chart shows, with its numbers: the text alternative for screen readers."""


def to_svg(chart: Chart, name: str, css_variables: Mapping[str, str]) -> Markup:
    """Convert a chart to an <svg> element; the same chart results in the same text.

    Parameters
    ----------
    chart : Chart
    name : str
        Unique on the page: the ids in the element are made from it.
    css_variables : mapping of str to str
        The CSS value that replaces a colour of the figure.

    Returns
    -------
    Markup
        The element, with every text escaped.
    """
    root = ElementTree.fromstring(_plot(chart.figure, name))  # noqa: S314 - written by matplotlib, not by a user
    root.remove(root[0])  # a style sheet that would apply to the whole page
    referenced = set(re.findall(r"#([\w-]+)[\")]", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = _attributes(element.attrib, referenced, css_variables)
        element.tail = None
        if element.tag != "text":
            element.text = None
    for element in root.iter("g"):
        _share_style(element)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for tag, text in (("desc", chart.description), ("title", chart.title)):
        element = ElementTree.Element(tag, id=f"{name}-{tag}")
        element.text = text
        root.insert(0, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree has escaped every text


def _plot(figure: Figure, salt: str) -> str:
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        # The browser draws the text in the page's font. Matplotlib's font only measures it and need not contain every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return file.getvalue()


def _attributes(original: Mapping[str, str], referenced: Collection[str], css_variables: Mapping[str, str]) -> dict[str, str]:
    attributes = {}
    for key, value in original.items():
        if key == "style":
            attributes[key] = _style(value, css_variables)
        # Matplotlib makes the ids that something refers to from the salt, so that they are unique on the page.
        elif (key != "id" or value in referenced) and not value.startswith("rotate(-0 "):
            attributes[key.removeprefix(XLINK)] = re.sub(r"-?\d+\.\d{3,}|\s+", _shorten, value).strip()
    return attributes


def _share_style(group: ElementTree.Element) -> None:
    """Move the style of markers from each element to their group if all have the same one."""
    styles = {element.get("style") for element in group}
    if len(group) > 1 and len(styles) == 1 and all(element.tag == "use" for element in group) and (style := styles.pop()):
        group.set("style", style)
        for element in group:
            del element.attrib["style"]


def _style(value: str, css_variables: Mapping[str, str]) -> str:
    value = re.sub(r"font-family: [^;]*; ?", "", value)
    for colour, css in css_variables.items():
        value = value.replace(colour, css)
    return value.replace(": ", ":").replace("; ", ";")


def _shorten(match: re.Match[str]) -> str:
    return " " if match[0].isspace() else f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
