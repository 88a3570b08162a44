"""What the pictures have in common: how large they are, which colours they use, and how a segment is told from the others.

All are drawn as wide as a telephone: the page lays them out in columns where it has more room, so their texts stay legible
everywhere.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1b2129"
MUTED = "#56616e"
GRID = "#dde2e8"
PAPER = "#fefefe"
ACCENT = "#0a66b7"
NOBODY = "#8b95a1"
CSS_OF = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PAPER: "var(--card)",
    ACCENT: "var(--accent)",
    NOBODY: "var(--nobody)",
}
"""What the page calls the colours that it changes between light and dark."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 10,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 10,
    "ytick.major.size": 0,
}
DOTS_PER_INCH = 72  # one unit of the SVG's view box, so that every size here is in the same units
WIDTH = 340


class Look(NamedTuple):
    """How a segment is told from the others, besides its number."""

    colour: str
    ink: str
    """For text on the colour."""
    marker: str


_DARK = "#14181d"
# Okabe and Ito (2008): told apart with every kind of colour blindness. Black, their eighth, is the ink; a grey stands in.
COLOURS = (
    ("#0072b2", "#ffffff"),
    ("#e69f00", _DARK),
    ("#009e73", _DARK),
    ("#d55e00", _DARK),
    ("#56b4e9", _DARK),
    ("#cc79a7", _DARK),
    ("#f0e442", _DARK),
    ("#9aa3ad", _DARK),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")


def assign_styles(segment_ids: Collection[int], gone: Collection[int]) -> dict[int, Look]:
    """Give every segment a look of its own, the same from week to week as long as the neighbours allow it."""
    taken: dict[int, Look] = {}
    for segment_id in sorted(segment_ids):
        used = {look.colour for look in taken.values()}
        wanted = [COLOURS[(segment_id - 1 + step) % len(COLOURS)] for step in range(len(COLOURS))]
        colour = next((colour for colour in wanted if colour[0] not in used), wanted[0])
        taken[segment_id] = Look(*colour, MARKERS[(segment_id - 1) % len(MARKERS)])
    return taken | dict.fromkeys(gone, Look(NOBODY, _DARK, "o"))


def paper(width: int, height: int, *, left: int, bottom: int = 8, right: int = 12, top: int = 10) -> tuple[Figure, Axes]:
    """Open a figure whose margins have a size of their own, in the units of the view box."""
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def badge(axes: Axes, x: float, y: float, segment_id: int, look: Look, transform: Any = None) -> None:
    """Write a segment's number on its colour."""
    place: dict[str, Any] = {"transform": transform or axes.transData, "clip_on": False, "zorder": 6}
    size = 10 + 3 * max(len(str(segment_id)), 2)
    axes.plot(x, y, "o", markersize=size, color=look.colour, markeredgecolor=PAPER, **place)
    axes.text(x, y, str(segment_id), color=look.ink, fontsize=9, fontweight="bold", ha="center", va="center_baseline", **place)


def shorten(text: str, length: int) -> str:
    """Cut a name to what a picture has room for; characters that cannot be drawn go."""
    drawable = "".join(character if character.isprintable() else " " for character in text)
    return textwrap.shorten(drawable, length, placeholder=" …")
