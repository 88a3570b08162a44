"""Turn a figure of matplotlib into SVG that is part of a page: it follows the page's colours and fonts, and can be heard."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


class Picture(NamedTuple):
    figure: Figure
    title: str
    description: str
    """What the picture shows, with its figures, for those who do not see it."""


def to_svg(picture: Picture, name: str, css_of: Mapping[str, str]) -> Markup:
    """Write a picture as an <svg> element; the same picture gives the same text.

    Parameters
    ----------
    name : distinguishes the ids of this picture from those of the others on the page
    css_of : what stands in the page for a colour of the figure
    """
    root = ElementTree.fromstring(_plot(picture.figure, name))  # noqa: S314 - matplotlib wrote it a moment ago
    root.remove(root[0])  # a style sheet that would apply to the whole page
    referenced = dict.fromkeys(re.findall(r"#([\w-]+)[\")]", ElementTree.tostring(root, encoding="unicode")))
    ids = {reference: f"{name}-{place}" for place, reference in enumerate(referenced)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = _attributes(element.attrib, ids, css_of)
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
    for tag, text in (("desc", picture.description), ("title", picture.title)):
        element = ElementTree.Element(tag, id=f"{name}-{tag}")
        element.text = text
        root.insert(0, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree has escaped every text


def _plot(figure: Figure, salt: str) -> str:
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        # The page's font draws the text; matplotlib's own only measures it, and need not know every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return file.getvalue()


def _attributes(found: Mapping[str, str], ids: Mapping[str, str], css_of: Mapping[str, str]) -> dict[str, str]:
    attributes = {}
    for key, value in found.items():
        match key.removeprefix(XLINK):
            case "id":
                if value in ids:
                    attributes["id"] = ids[value]
            case "href":
                attributes["href"] = f"#{ids[value.removeprefix('#')]}"
            case "clip-path":
                attributes["clip-path"] = f"url(#{ids[value.removeprefix('url(#').removesuffix(')')]})"
            case "style":
                attributes["style"] = _style(value, css_of)
            case _ if not value.startswith("rotate(-0 "):
                attributes[key] = re.sub(r"-?\d+\.\d{3,}|\s+", _shorten, value).strip()
    return attributes


def _share_style(group: ElementTree.Element) -> None:
    """Write the style of marks that are all alike once, at their group, instead of at each."""
    styles = {element.get("style") for element in group}
    if len(group) > 1 and len(styles) == 1 and all(element.tag == "use" for element in group) and (style := styles.pop()):
        group.set("style", style)
        for element in group:
            del element.attrib["style"]


def _style(value: str, css_of: Mapping[str, str]) -> str:
    value = re.sub(r"font-family: [^;]*; ?", "", value)
    for colour, css in css_of.items():
        value = value.replace(colour, css)
    return value.replace(": ", ":").replace("; ", ";")


def _shorten(match: re.Match[str]) -> str:
    return " " if match[0].isspace() else f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
