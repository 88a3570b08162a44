"""Theme of the charts: size, colours, and the style by which a segment is recognised in every chart.

Every chart is as wide as a phone. The page arranges charts in columns if it has more room, so their text is legible everywhere.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOREGROUND = "#1b2129"
MUTED = "#56616e"
GRID = "#dde2e8"
BACKGROUND = "#fefefe"
ACCENT = "#0a66b7"
UNASSIGNED_COLOUR = "#8b95a1"
CSS_VARIABLES = {
    FOREGROUND: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    BACKGROUND: "var(--card)",
    ACCENT: "var(--accent)",
    UNASSIGNED_COLOUR: "var(--unassigned)",
}
"""The variable of the page for each colour that differs between light and dark mode."""

RC_PARAMS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": FOREGROUND,
    "text.parse_math": False,  # a dollar sign in a name is not mathematics
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
DOTS_PER_INCH = 72  # one unit of the SVG's view box, so that every size here has the same unit
WIDTH = 340


class SegmentStyle(NamedTuple):
    """How a segment is recognised, besides its number."""

    colour: str
    text_colour: str
    """For text on `colour`."""
    marker: str


_DARK = "#14181d"
# Okabe and Ito (2008): distinguishable with every kind of colour blindness. Their black is the page's text; grey replaces it.
_COLOURS = (
    ("#0072b2", "#ffffff"),
    ("#e69f00", _DARK),
    ("#009e73", _DARK),
    ("#d55e00", _DARK),
    ("#56b4e9", _DARK),
    ("#cc79a7", _DARK),
    ("#f0e442", _DARK),
    ("#9aa3ad", _DARK),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")


def assign_styles(segment_ids: Collection[int], vanished_ids: Collection[int] = ()) -> dict[int, SegmentStyle]:
    """Choose a style for each segment; it stays the same from run to run unless another segment has its colour."""
    styles: dict[int, SegmentStyle] = {}
    for segment_id in sorted(segment_ids):
        used = {style.colour for style in styles.values()}
        preferred = [_COLOURS[(segment_id - 1 + step) % len(_COLOURS)] for step in range(len(_COLOURS))]
        colour = next((colour for colour in preferred if colour[0] not in used), preferred[0])
        styles[segment_id] = SegmentStyle(*colour, _MARKERS[(segment_id - 1) % len(_MARKERS)])
    return styles | dict.fromkeys(vanished_ids, SegmentStyle(UNASSIGNED_COLOUR, _DARK, "o"))


def new_figure(
    height: int, *, left: int, bottom: int = 8, right: int = 12, top: int = 10, width: int = WIDTH
) -> tuple[Figure, Axes]:
    """Create a figure with one pair of axes; all sizes in units of the view box."""
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def draw_badge(axes: Axes, x: float, y: float, segment_id: int, style: SegmentStyle, transform: Any = None) -> None:
    """Draw a segment's number on its colour."""
    placement: dict[str, Any] = {"transform": transform or axes.transData, "clip_on": False, "zorder": 6}
    size = 10 + 3 * max(len(str(segment_id)), 2)
    axes.plot(x, y, "o", markersize=size, color=style.colour, markeredgecolor=BACKGROUND, **placement)
    label: dict[str, Any] = {"fontsize": 9, "fontweight": "bold", "ha": "center", "va": "center_baseline"}
    axes.text(x, y, str(segment_id), color=style.text_colour, **label, **placement)


def shorten(text: str, max_length: int) -> str:
    """Truncate a name for a chart, and replace characters that XML cannot contain by blanks."""
    drawable = "".join(character if character.isprintable() else " " for character in text)
    return textwrap.shorten(drawable, max_length, placeholder=" …")
