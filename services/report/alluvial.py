"""Alluvial charts: columns of groups, with ribbons as wide as the number of customers that two groups share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from services.report.theme import MUTED, RC_PARAMS, UNASSIGNED_COLOUR, SegmentStyle, draw_badge, new_figure

_BAR_WIDTH = 0.04  # as a share of the chart's width, like all horizontal positions
_COLUMN_LENGTH = 240  # of all bars of a column together, like the next two in units of the view box
_MIN_NODE_HEIGHT = 18
_GAP = 5
_MAX_RIBBONS = 150  # more than the eye can follow; also bounds the size of the page

Key = int | None
"""Number of a group; None: the customers in no segment."""


class Flow(NamedTuple):
    """Customers of one group in the left column who are in a group of the right one."""

    source: Key
    target: Key
    customers: int


class Column(NamedTuple):
    """One side of the diagram."""

    title: str
    styles: Mapping[int, SegmentStyle]
    """Of the groups that are segments; other groups are grey and have no badge."""


class NodeBar(NamedTuple):
    """One group of a column: start and length of its bar in units of the view box."""

    start: float
    length: float
    customers: int


@rc_context(RC_PARAMS)
def draw_alluvial(columns: Sequence[Column], flows: Sequence[Sequence[Flow]]) -> Figure:
    """Draw the flows between neighbouring columns.

    Parameters
    ----------
    columns : sequence of length n
    flows : sequence of length n - 1
        `flows[i]` connects `columns[i]` with `columns[i + 1]`. Only the 150 widest of each are drawn.
    """
    flows = [sorted(between, key=_node_order) for between in flows]
    scale = _COLUMN_LENGTH / max(sum(flow.customers for flow in between) for between in flows)
    sizes = [[(flow.source, flow.customers) for flow in flows[0]]]
    sizes += [[(flow.target, flow.customers) for flow in between] for between in flows]
    nodes = [_stack(column, scale) for column in sizes]
    height = max(node.start + max(node.length, _MIN_NODE_HEIGHT) for column in nodes for node in column.values())
    figure, axes = new_figure(round(height) + 30, left=72, right=72, top=24, bottom=6)
    positions = [index / (len(columns) - 1) for index in range(len(columns))]
    for position, column, bars in zip(positions, columns, nodes, strict=True):
        _draw_column(axes, position, column, bars)
    for index, between in enumerate(flows):
        ends = [(positions[place], columns[place].styles, nodes[place]) for place in (index, index + 1)]
        _draw_ribbons(axes, between, *ends)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    return figure


def _stack(sizes: Sequence[tuple[Key, int]], scale: float) -> dict[Key, NodeBar]:
    """Stack the groups of a column, each centred in a space that has room for its label."""
    totals: dict[Key, int] = {}
    for key, customers in sorted(sizes, key=lambda item: _unassigned_last(item[0])):
        totals[key] = totals.get(key, 0) + customers
    nodes, top = {}, 0.0
    for key, customers in totals.items():
        length = customers * scale
        space = max(length, _MIN_NODE_HEIGHT)
        nodes[key] = NodeBar(top + (space - length) / 2, length, customers)
        top += space + _GAP
    return nodes


def _bar_edges(position: float) -> tuple[float, float]:
    """Return left and right edge of a column's bars: they stay inside the chart."""
    left = min(max(position - _BAR_WIDTH / 2, 0), 1 - _BAR_WIDTH)
    return left, left + _BAR_WIDTH


def _draw_column(axes: Axes, position: float, column: Column, nodes: Mapping[Key, NodeBar]) -> None:
    """Draw the bars of a column, with sizes beside those of the first and the last column."""
    axes.text(position, -6, column.title, ha="center", va="bottom", color=MUTED)
    outwards = -1 if position == 0 else 1 if position == 1 else 0
    for key, (start, length, customers) in nodes.items():
        style = column.styles.get(key) if key is not None else None
        colour = style.colour if style else UNASSIGNED_COLOUR
        axes.fill_between(_bar_edges(position), start, start + length, color=colour, linewidth=0)
        middle = start + length / 2
        if style and key is not None:
            draw_badge(axes, position + outwards * 0.055, middle, key, style)
        if outwards:
            label = f"none {customers:,}" if key is None else f"{customers:,}"
            distance = 0.11 if style else 0.03
            alignment = "left" if outwards > 0 else "right"
            axes.text(position + outwards * distance, middle, label, ha=alignment, va="center", fontsize=9)


_End = tuple[float, Mapping[int, SegmentStyle], Mapping[Key, NodeBar]]


def _draw_ribbons(axes: Axes, flows: Sequence[Flow], source: _End, target: _End) -> None:
    """Draw the flows between two columns: those within a segment pale, the others strong."""
    (x_source, source_styles, source_nodes), (x_target, target_styles, target_nodes) = source, target
    left = {key: node.start for key, node in source_nodes.items()}
    right = {key: node.start for key, node in target_nodes.items()}
    smallest_drawn = sorted((flow.customers for flow in flows), reverse=True)[:_MAX_RIBBONS][-1]
    total, length = sum(flow.customers for flow in flows), sum(node.length for node in source_nodes.values())
    x = (_bar_edges(x_source)[1], _bar_edges(x_target)[0])
    for flow in flows:
        style = source_styles.get(flow.source or 0) or (None if flow.source is None else target_styles.get(flow.target or 0))
        is_same = flow.source == flow.target and flow.source in source_styles and flow.target in target_styles
        width = flow.customers * length / total
        if flow.customers >= smallest_drawn:
            y = (left[flow.source], right[flow.target])
            colour = style.colour if style else UNASSIGNED_COLOUR
            axes.add_patch(_ribbon(x, y, width, colour, alpha=0.3 if is_same else 0.75))
        left[flow.source] += width
        right[flow.target] += width


def _ribbon(x: tuple[float, float], y: tuple[float, float], width: float, colour: str, alpha: float) -> PathPatch:
    middle = sum(x) / 2
    corners = [
        *((x[0], y[0]), (middle, y[0]), (middle, y[1]), (x[1], y[1])),
        *((x[1], y[1] + width), (middle, y[1] + width), (middle, y[0] + width), (x[0], y[0] + width)),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    return PathPatch(Path(corners, codes), facecolor=colour, alpha=alpha, linewidth=0)


def _node_order(flow: Flow) -> tuple[tuple[bool, int], tuple[bool, int]]:
    return _unassigned_last(flow.source), _unassigned_last(flow.target)


def _unassigned_last(key: Key) -> tuple[bool, int]:
    return key is None, key or 0
