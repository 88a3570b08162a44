"""The picture of who moved where: ribbons between the segments of last time and those of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from services.report.report_data import Move
from services.report.svg import Picture
from services.report.theme import MUTED, NOBODY, STYLE, WIDTH, Look, badge, paper

BAR = 0.04  # breadth of the bars at either end of the ribbons, as a share of the width
LENGTH = 240  # of all bars of a side together, like the next two in the units of the view box
LABEL = 18
GAP = 5
MOST_RIBBONS = 150  # more than the eye can follow, and as many as the size of the page allows


class Block(NamedTuple):
    """One segment on one side: where its bar begins, and how long it is, in the units of the view box."""

    start: float
    length: float
    customers: int


@rc_context(STYLE)
def draw_migration(moves: Sequence[Move], looks: Mapping[int, Look]) -> Picture:
    """Draw how many customers went from each segment of last time (left) to each of today's (right)."""
    moves = sorted(moves, key=lambda move: (_none_last(move.origin), _none_last(move.target)))
    total = sum(move.customers for move in moves)
    before = _stack([(move.origin, move.customers) for move in moves], LENGTH / total)
    now = _stack([(move.target, move.customers) for move in moves], LENGTH / total)
    height = max(block.start + max(block.length, LABEL) for block in [*before.values(), *now.values()])
    figure, axes = paper(WIDTH, round(height) + 30, left=72, right=72, top=24, bottom=6)
    _draw_column(axes, before, looks, x=0, outwards=-1)
    _draw_column(axes, now, looks, x=1, outwards=1)
    left, right = ({key: block.start for key, block in blocks.items()} for blocks in (before, now))
    fewest = sorted((move.customers for move in moves), reverse=True)[:MOST_RIBBONS][-1]
    for move in moves:
        colour = NOBODY if move.origin is None else looks[move.origin].colour
        alpha = 0.3 if move.origin == move.target else 0.8
        breadth = move.customers * LENGTH / total
        if move.customers >= fewest:
            axes.add_patch(_ribbon(left[move.origin], right[move.target], breadth, colour, alpha))
        left[move.origin] += breadth
        right[move.target] += breadth
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    axes.text(0, -6, "last time", ha="center", va="bottom", color=MUTED)
    axes.text(1, -6, "now", ha="center", va="bottom", color=MUTED)
    return Picture(figure, "Where the customers went since last time", _tell_moves(moves, total))


def _stack(amounts: Sequence[tuple[int | None, int]], scale: float) -> dict[int | None, Block]:
    """Put one block under the other, each in the middle of a place that has room for its label."""
    sizes: dict[int | None, int] = {}
    for key, amount in sorted(amounts, key=lambda item: _none_last(item[0])):
        sizes[key] = sizes.get(key, 0) + amount
    blocks, top = {}, 0.0
    for key, customers in sizes.items():
        length = customers * scale
        room = max(length, LABEL)
        blocks[key] = Block(top + (room - length) / 2, length, customers)
        top += room + GAP
    return blocks


def _draw_column(axes: Axes, blocks: Mapping[int | None, Block], looks: Mapping[int, Look], *, x: int, outwards: int) -> None:
    """Draw the blocks of one side with number and size beside them."""
    side = "left" if outwards > 0 else "right"
    for key, (start, length, customers) in blocks.items():
        colour = NOBODY if key is None else looks[key].colour
        axes.fill_between([x, x - outwards * BAR], start, start + length, color=colour, linewidth=0)
        middle = start + length / 2
        if key is None:
            axes.text(x + outwards * 0.03, middle, f"none {customers:,}", ha=side, va="center", fontsize=9)
        else:
            badge(axes, x + outwards * 0.055, middle, key, looks[key])
            axes.text(x + outwards * 0.11, middle, f"{customers:,}", ha=side, va="center", fontsize=9)


def _ribbon(left: float, right: float, breadth: float, colour: str, alpha: float) -> PathPatch:
    x = (BAR, 0.5, 1 - BAR)
    corners = [
        *((x[0], left), (x[1], left), (x[1], right), (x[2], right)),
        *((x[2], right + breadth), (x[1], right + breadth), (x[1], left + breadth), (x[0], left + breadth)),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    return PathPatch(Path(corners, codes), facecolor=colour, alpha=alpha, linewidth=0)


def _tell_moves(moves: Sequence[Move], total: int) -> str:
    stayed = sum(move.customers for move in moves if move.origin == move.target is not None)
    told = [
        f"{move.customers:,} from {_named(move.origin, move.origin_name)} to {_named(move.target, move.target_name)}"
        for move in sorted(moves, key=lambda move: -move.customers)
        if move.origin != move.target
    ]
    largest = f" The largest moves: {'; '.join(told[:10])}." if told else ""
    return f"{stayed:,} of {total:,} customers stayed in their segment.{largest}"


def _named(segment_id: int | None, name: str) -> str:
    return "none" if segment_id is None else f"{segment_id} {name}"


def _none_last(segment_id: int | None) -> tuple[bool, int]:
    return segment_id is None, segment_id or 0
