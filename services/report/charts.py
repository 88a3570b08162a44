"""Charts about single segments: stability, silhouettes, map of the customers, and development from run to run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, MaxNLocator

from services.contract.results import SamplePoint, Segment
from services.report.formatting import format_number, format_percent, format_score, format_with_error, stability_label
from services.report.svg import Chart
from services.report.theme import FOREGROUND, GRID, MUTED, RC_PARAMS, SegmentStyle, draw_badge, new_figure, shorten

Styles = Mapping[int, SegmentStyle]


@rc_context(RC_PARAMS)
def draw_development(
    title: str,
    series: Mapping[int, Sequence[float | None]],
    dates: Sequence[str],
    styles: Styles,
    write: Callable[[float], str],
) -> Chart:
    """Draw one line per segment over the runs, the latest run on the right.

    Parameters
    ----------
    title : str
    series : mapping of int to sequence of float, each of length n_runs
        Values by segment id; None if the run did not have the segment.
    dates : sequence of str, of length n_runs
        Labels of the runs.
    styles : mapping of int to SegmentStyle
    write : callable
        Formats a value.
    """
    last = len(dates) - 1
    figure, axes = new_figure(210, left=44, bottom=24, right=26)
    descriptions = []
    for segment_id, values in series.items():
        style = styles[segment_id]
        heights = [math.nan if value is None else value for value in values]
        axes.plot(heights, "-", marker=style.marker, color=style.colour, markersize=4, linewidth=1.5, clip_on=False)
        if values[-1] is not None:
            draw_badge(axes, 1.05 * last, values[-1], segment_id, style)
        known = [write(value) for value in values if value is not None]
        descriptions.append(f"segment {segment_id}: {f'{known[0]} to {known[-1]}' if known else 'unknown'}")
    axes.set_xlim(0, last)
    ticks = range(0, last + 1, math.ceil(last / 4))
    axes.set_xticks(ticks, [dates[tick] for tick in ticks])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    return Chart(figure, title, f"{len(dates)} runs, from {dates[0]} to {dates[-1]}: {'; '.join(descriptions)}.")


@rc_context(RC_PARAMS)
def draw_stability(segments: Sequence[Segment], styles: Styles) -> Chart:
    """Draw the bootstrap Jaccard similarity of every segment with the thresholds of Hennig (2007)."""
    row_height = min(58, 30 + 140 / len(segments))
    figure, axes = new_figure(44 + round(row_height * len(segments)), left=30, bottom=20, top=24, right=42)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(segments) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.6, 0.75, 0.85, 1], ["0", "0.6", "0.75", "0.85", "1"])
    axes.axvspan(0, 0.6, color=GRID, alpha=0.45, linewidth=0)
    for left, right, label in ((0, 0.6, "not reliable"), (0.6, 0.75, "pattern"), (0.75, 1, "stable")):
        axes.text((left + right) / 2, 1.02, label, ha="center", va="bottom", color=MUTED, fontsize=9, transform=axes.transAxes)
    for row, segment in enumerate(segments):
        style, y = styles[segment.segment_id], row + 8 / row_height
        axes.text(0.012, y - 5 / row_height, shorten(segment.name, 46), fontsize=9.5, va="bottom")
        if segment.jaccard is None:
            axes.text(0.012, y, "too small to assess", color=MUTED, fontsize=9, va="center")
        else:
            axes.plot([0, segment.jaccard], [y, y], color=style.colour, linewidth=4, solid_capstyle="butt")
            marker: dict[str, Any] = {"color": style.colour, "markersize": 9, "markeredgecolor": FOREGROUND, "clip_on": False}
            axes.plot(segment.jaccard, y, style.marker, **marker)
        if segment.jaccard is not None and segment.jaccard_se is not None:
            ends = [max(segment.jaccard - 2 * segment.jaccard_se, 0), min(segment.jaccard + 2 * segment.jaccard_se, 1)]
            axes.plot(ends, [y, y], "|-", color=FOREGROUND, linewidth=1.2, markersize=9, clip_on=False, zorder=5)
        axes.text(1.035, y, format_score(segment.jaccard), fontweight="bold", va="center")
        draw_badge(axes, -0.05, y, segment.segment_id, style)
    values = [
        f"{segment.segment_id} {segment.name}: {format_with_error(segment.jaccard, segment.jaccard_se)}, "
        f"{stability_label(segment.jaccard)}"
        for segment in segments
    ]
    return Chart(figure, "Stability of every segment", f"Bootstrap Jaccard similarity from 0 to 1. {'; '.join(values)}.")


@rc_context(RC_PARAMS)
def draw_silhouettes(points: Sequence[SamplePoint], segments: Sequence[Segment], styles: Styles) -> Chart:
    """Draw the silhouettes of the sampled customers, sorted within each segment, and their mean."""
    height, gap, min_height = 200 + 12 * len(segments), 5, 17
    figure, axes = new_figure(height + 60, left=30, bottom=36, top=24)
    descriptions, top = [], 0.0
    for segment in segments:
        silhouettes = sorted((point.silhouette for point in points if point.segment_id == segment.segment_id), reverse=True)
        if not silhouettes:
            continue
        style, bottom = styles[segment.segment_id], top + max(height * len(silhouettes) / len(points), min_height)
        axes.fill(*_outline(silhouettes, top, bottom), facecolor=style.colour, edgecolor=FOREGROUND, linewidth=0.4)
        draw_badge(axes, -0.045, (top + bottom) / 2, segment.segment_id, style, transform=axes.get_yaxis_transform())
        negative = format_percent(sum(silhouette < 0 for silhouette in silhouettes) / len(silhouettes))
        mean = format_score(statistics.fmean(silhouettes))
        descriptions.append(f"{segment.segment_id} {segment.name}: mean {mean}, {negative} of its customers below 0")
        top = bottom + gap
    overall = "no silhouettes"
    if points:
        mean_silhouette = statistics.fmean(point.silhouette for point in points)
        overall = f"mean {format_score(mean_silhouette)}"
        axes.axvline(mean_silhouette, color=FOREGROUND, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.text(mean_silhouette, -gap - 2, overall, ha="center", va="bottom")
    axes.set_ylim(max(top, 1), -gap)
    axes.set_xlim(min([-0.1, *(point.silhouette for point in points)]), 1)
    axes.set_yticks([])
    axes.set_xlabel("silhouette")
    return Chart(
        figure, "Silhouettes within every segment", f"{len(points):,} customers: {overall}. {'; '.join(descriptions)}."
    )


def _outline(silhouettes: Sequence[float], top: float, bottom: float) -> tuple[list[float], list[float]]:
    """Return x and y of the area under sorted silhouettes, with at most one corner per unit of height."""
    n_steps = min(len(silhouettes), round(bottom - top))
    shares = [step / max(n_steps - 1, 1) for step in range(n_steps)]
    x = [silhouettes[round(share * (len(silhouettes) - 1))] for share in shares]
    return [0, *x, x[-1], 0], [top, *(top + share * (bottom - top) for share in shares), bottom, bottom]


@rc_context(RC_PARAMS)
def draw_map(points: Sequence[SamplePoint], segments: Sequence[Segment], styles: Styles) -> Chart:
    """Draw the sampled customers in two dimensions."""
    is_line = not any(point.y for point in points)
    figure, axes = new_figure(80 if is_line else 330, left=20, bottom=20)
    descriptions = []
    for segment in segments:
        members = [point for point in points if point.segment_id == segment.segment_id]
        if not members:
            continue
        style = styles[segment.segment_id]
        x, y = [point.x for point in members], [point.y for point in members]
        axes.plot(x, y, style.marker, color=style.colour, markersize=3.4, markeredgewidth=0, alpha=0.75)
        median = statistics.median(x), statistics.median(y)
        draw_badge(axes, *median, segment.segment_id, style)
        place = ", ".join(map(format_number, median))
        descriptions.append(f"{segment.segment_id} {segment.name}: {len(members)} around ({place})")
    axes.grid(visible=False)
    axes.set_xscale("asinh", linear_width=1)
    axes.set_yscale("asinh", linear_width=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.minorticks_off()
    axes.set_xlabel("first direction →")
    if not is_line:
        axes.set_ylabel("second direction →")
        axes.spines["left"].set_visible(True)
    return Chart(figure, f"Map of {len(points):,} customers", f"One mark for each customer. {'; '.join(descriptions)}.")
