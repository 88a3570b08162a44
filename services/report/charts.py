"""The pictures of one segmentation: how many segments, how far to trust them, where the customers lie."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from services.contract.results import Candidate, NullComparison, Segment
from services.report.formatting import compact, number, percent, score, stability, with_error
from services.report.report_data import Point
from services.report.svg import Picture
from services.report.theme import ACCENT, GRID, INK, MUTED, NOBODY, STYLE, WIDTH, Look, badge, paper, shorten


@rc_context(STYLE)
def draw_elbow(candidates: Sequence[Candidate], chosen_k: int, elbow: int | None) -> Picture:
    """Draw the SSE over k with the chosen k, and the elbow where it is another one."""
    sse = [candidate.sse for candidate in candidates]
    figure, axes = paper(WIDTH, 250, left=42, bottom=36)
    _draw_over_k(
        axes,
        candidates,
        sse,
        chosen_k,
        size=7,
        most_ticks=12,
        label=f"k = {chosen_k}, chosen{', the elbow' * (elbow == chosen_k)}",
    )
    axes.set_xlabel("number of segments, k")
    axes.set_ylim(bottom=0)
    if elbow is not None and elbow != chosen_k:
        axes.axvline(elbow, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"k = {elbow}, the elbow")
    axes.legend(loc="upper right", frameon=False, labelcolor="linecolor", handlelength=1.5)
    found = "no elbow was found" if elbow is None else f"the elbow is at k = {elbow}"
    return Picture(
        figure,
        "Sum of squared distances for every number of segments",
        f"Falling curve. {_over_k(candidates, sse, number)} Chosen is k = {chosen_k}; {found}.",
    )


@rc_context(STYLE)
def draw_metric(title: str, candidates: Sequence[Candidate], values: Sequence[float | None], chosen_k: int) -> Picture:
    """Draw one measure over k, small, to stand beside others; None leaves a gap."""
    figure, axes = paper(150, 100, left=32, bottom=18, right=8)
    _draw_over_k(axes, candidates, values, chosen_k, size=6, most_ticks=5)
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    return Picture(figure, title, f"{_over_k(candidates, values, number)} Chosen is k = {chosen_k}.")


@rc_context(STYLE)
def draw_stability(segments: Sequence[Segment], looks: Mapping[int, Look]) -> Picture:
    """Draw the bootstrap Jaccard similarity of every segment with the thresholds by which to read it."""
    row = min(58, 30 + 140 / len(segments))
    figure, axes = paper(WIDTH, 44 + round(row * len(segments)), left=30, bottom=20, top=24, right=42)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(segments) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.6, 0.75, 0.85, 1], ["0", "0.6", "0.75", "0.85", "1"])
    axes.axvspan(0, 0.6, color=GRID, alpha=0.45, linewidth=0)
    for left, right, word in ((0, 0.6, "not to be trusted"), (0.6, 0.75, "pattern"), (0.75, 1, "stable")):
        axes.text((left + right) / 2, 1.02, word, ha="center", va="bottom", color=MUTED, fontsize=9, transform=axes.transAxes)
    for place, segment in enumerate(segments):
        look, y = looks[segment.segment_id], place + 8 / row
        axes.text(0.012, y - 5 / row, shorten(segment.name, 46), fontsize=9.5, va="bottom")
        if segment.jaccard is None:
            axes.text(0.012, y, "too small to assess", color=MUTED, fontsize=9, va="center")
        else:
            axes.plot([0, segment.jaccard], [y, y], color=look.colour, linewidth=4, solid_capstyle="butt")
            axes.plot(segment.jaccard, y, look.marker, color=look.colour, markersize=9, markeredgecolor=INK, clip_on=False)
        if segment.jaccard is not None and segment.jaccard_se is not None:
            ends = [max(segment.jaccard - 2 * segment.jaccard_se, 0), min(segment.jaccard + 2 * segment.jaccard_se, 1)]
            axes.plot(ends, [y, y], "|-", color=INK, linewidth=1.2, markersize=9, clip_on=False, zorder=5)
        axes.text(1.035, y, score(segment.jaccard), fontweight="bold", va="center")
        badge(axes, -0.05, y, segment.segment_id, look)
    return Picture(
        figure,
        "Stability of every segment",
        "Bootstrap Jaccard similarity from 0 to 1. "
        + "; ".join(f"{s.segment_id} {s.name}: {with_error(s.jaccard, s.jaccard_se)}, {stability(s.jaccard)}" for s in segments)
        + ".",
    )


@rc_context(STYLE)
def draw_structure(gap: NullComparison, k: int) -> Picture:
    """Draw the deepest gap between two segments beside those of tables without groups, one dot for each null draw."""
    figure, axes = paper(WIDTH, 170, left=12, bottom=36, top=40)
    heights = _stack_dots(gap.null_draws, gap.observed)
    axes.plot(gap.null_draws, heights, "o", color=NOBODY, markersize=5, markeredgewidth=0)
    axes.axvline(gap.observed, ymax=0.94, color=ACCENT, linewidth=2.5)
    axes.margins(x=0.12)
    axes.set_ylim(0, max(8, *heights) + 1)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("deepest gap between two segments (scaled dip)")
    low, high = axes.get_xlim()
    for x, y, colour, text in (
        (gap.observed, 1.0, ACCENT, f"these customers: {score(gap.observed)}"),
        (gap.null_mean, 1.13, MUTED, f"without groups: {score(gap.null_mean)} on average"),
    ):
        # Centred above its marks, unless it would leave the picture.
        side = "left" if x < low + 0.3 * (high - low) else "right" if x > high - 0.3 * (high - low) else "center"
        place = {"left": low, "right": high, "center": x}[side]
        axes.text(place, y, text, ha=side, va="bottom", color=colour, transform=axes.get_xaxis_transform())
    return Picture(
        figure,
        "The chosen number of segments beside data without groups",
        f"Deepest gap between two of {k} segments: {score(gap.observed)} for these customers; "
        f"{score(gap.null_mean)} on average, with a standard deviation of {score(gap.null_sd)}, "
        f"in {len(gap.null_draws)} simulated tables without groups, which range from {score(min(gap.null_draws))} "
        f"to {score(max(gap.null_draws))}.",
    )


def _stack_dots(draws: Sequence[float], value: float) -> list[int]:
    """Find the height of each dot so that dots of nearly the same value lie on top of each other."""
    breadth = (max(*draws, value) - min(*draws, value)) / 45 or 1.0
    columns: Counter[int] = Counter()
    heights = []
    for draw in draws:
        columns[round(draw / breadth)] += 1
        heights.append(columns[round(draw / breadth)])
    return heights


@rc_context(STYLE)
def draw_silhouettes(points: Sequence[Point], segments: Sequence[Segment], looks: Mapping[int, Look]) -> Picture:
    """Draw the silhouettes of the sampled customers, sorted within each segment, and their mean."""
    height, gap, least = 200 + 12 * len(segments), 5, 17
    figure, axes = paper(WIDTH, height + 60, left=30, bottom=36, top=24)
    told, top = [], 0.0
    for segment in segments:
        silhouettes = sorted((point.silhouette for point in points if point.segment_id == segment.segment_id), reverse=True)
        if not silhouettes:
            continue
        look, bottom = looks[segment.segment_id], top + max(height * len(silhouettes) / len(points), least)
        axes.fill(*_outline(silhouettes, top, bottom), facecolor=look.colour, edgecolor=INK, linewidth=0.4)
        badge(axes, -0.045, (top + bottom) / 2, segment.segment_id, look, transform=axes.get_yaxis_transform())
        below = sum(silhouette < 0 for silhouette in silhouettes) / len(silhouettes)
        average = statistics.fmean(silhouettes)
        told.append(f"{segment.segment_id} {segment.name}: mean {score(average)}, {percent(below)} of its customers below 0")
        top = bottom + gap
    mean = "no silhouettes"
    if points:
        overall = statistics.fmean(point.silhouette for point in points)
        mean = f"mean {score(overall)}"
        axes.axvline(overall, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.text(overall, -gap - 2, mean, ha="center", va="bottom")
    axes.set_ylim(max(top, 1), -gap)
    axes.set_xlim(min([-0.1, *(point.silhouette for point in points)]), 1)
    axes.set_yticks([])
    axes.set_xlabel("silhouette")
    description = f"{len(points):,} customers: {mean}. {'; '.join(told)}."
    return Picture(figure, "Silhouettes within every segment", description)


@rc_context(STYLE)
def draw_map(points: Sequence[Point], segments: Sequence[Segment], looks: Mapping[int, Look]) -> Picture:
    """Draw the sampled customers in two dimensions."""
    is_line = not any(point.y for point in points)
    figure, axes = paper(WIDTH, 80 if is_line else 330, left=20, bottom=20)
    told = []
    for segment in segments:
        own = [point for point in points if point.segment_id == segment.segment_id]
        if not own:
            continue
        look = looks[segment.segment_id]
        x, y = [point.x for point in own], [point.y for point in own]
        axes.plot(x, y, look.marker, color=look.colour, markersize=3.4, markeredgewidth=0, alpha=0.75)
        middle = statistics.median(x), statistics.median(y)
        badge(axes, *middle, segment.segment_id, look)
        told.append(f"{segment.segment_id} {segment.name}: {len(own)} around ({number(middle[0])}, {number(middle[1])})")
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
    return Picture(figure, f"Map of {len(points):,} customers", f"One mark for each customer. {'; '.join(told)}.")


def _draw_over_k(
    axes: Axes,
    candidates: Sequence[Candidate],
    values: Sequence[float | None],
    chosen_k: int,
    *,
    size: float,
    most_ticks: int,
    label: str = "",
) -> None:
    k_values = [candidate.k for candidate in candidates]
    heights = [math.nan if value is None else value for value in values]
    axes.plot(k_values, heights, "-o", color=MUTED, linewidth=1.5, markersize=size / 2, clip_on=False)
    chosen = heights[k_values.index(chosen_k)]
    axes.plot(chosen_k, chosen, "o", color=ACCENT, markersize=size * 1.3, clip_on=False, zorder=5, label=label)
    axes.set_xticks(k_values[:: math.ceil(len(k_values) / most_ticks)])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.grid(axis="x", visible=False)


def _over_k(candidates: Sequence[Candidate], values: Sequence[float | None], write: Callable[[float | None], str]) -> str:
    return ", ".join(f"k = {c.k}: {write(value)}" for c, value in zip(candidates, values, strict=True)) + "."


def _outline(silhouettes: Sequence[float], top: float, bottom: float) -> tuple[list[float], list[float]]:
    """Give x and y of the area under sorted silhouettes, with no more corners than its height can show."""
    n_steps = min(len(silhouettes), round(bottom - top))
    shares = [step / max(n_steps - 1, 1) for step in range(n_steps)]
    x = [silhouettes[round(share * (len(silhouettes) - 1))] for share in shares]
    return [0, *x, x[-1], 0], [top, *(top + share * (bottom - top) for share in shares), bottom, bottom]
