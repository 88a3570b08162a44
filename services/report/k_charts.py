"""Charts about the number of segments k: the elbow, other measures over k, and the comparison with data without groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from services.contract.results import Candidate, NullComparison
from services.report.formatting import format_compact, format_number, format_score
from services.report.svg import Chart
from services.report.theme import ACCENT, FOREGROUND, MUTED, RC_PARAMS, UNASSIGNED_COLOUR, new_figure


@rc_context(RC_PARAMS)
def draw_elbow(candidates: Sequence[Candidate], chosen_k: int, elbow: int | None) -> Chart:
    """Draw the SSE over k with the chosen k, and the elbow if it is another k."""
    sse = [candidate.sse for candidate in candidates]
    figure, axes = new_figure(250, left=42, bottom=36)
    _draw_over_k(axes, candidates, sse, chosen_k, max_ticks=12)
    suffix = ", the elbow" if elbow == chosen_k else ""
    axes.lines[-1].set_label(f"k = {chosen_k}, chosen{suffix}")
    axes.set_xlabel("number of segments, k")
    axes.set_ylim(bottom=0)
    if elbow is not None and elbow != chosen_k:
        axes.axvline(elbow, color=FOREGROUND, linewidth=1.2, linestyle=(0, (4, 3)), label=f"k = {elbow}, the elbow")
    axes.legend(loc="upper right", frameon=False, labelcolor="linecolor", handlelength=1.5)
    outcome = "no elbow was found" if elbow is None else f"the elbow is at k = {elbow}"
    return Chart(
        figure,
        "Sum of squared distances for every number of segments",
        f"Falling curve. {_describe_over_k(candidates, sse)} Chosen is k = {chosen_k}; {outcome}.",
    )


@rc_context(RC_PARAMS)
def draw_metric(title: str, candidates: Sequence[Candidate], values: Sequence[float | None], chosen_k: int) -> Chart:
    """Draw one measure over k as a small chart; None leaves a gap."""
    figure, axes = new_figure(100, left=32, bottom=18, right=8, width=150)
    _draw_over_k(axes, candidates, values, chosen_k, max_ticks=5)
    axes.margins(y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    return Chart(figure, title, f"{_describe_over_k(candidates, values)} Chosen is k = {chosen_k}.")


def _draw_over_k(
    axes: Axes, candidates: Sequence[Candidate], values: Sequence[float | None], chosen_k: int, *, max_ticks: int
) -> None:
    k_values = [candidate.k for candidate in candidates]
    heights = [math.nan if value is None else value for value in values]
    axes.plot(k_values, heights, "-o", color=MUTED, linewidth=1.5, markersize=3.2, clip_on=False)
    axes.plot(chosen_k, heights[k_values.index(chosen_k)], "o", color=ACCENT, markersize=8.5, clip_on=False, zorder=5)
    axes.set_xticks(k_values[:: math.ceil(len(k_values) / max_ticks)])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_compact(value)))
    axes.grid(axis="x", visible=False)


def _describe_over_k(candidates: Sequence[Candidate], values: Sequence[float | None]) -> str:
    return ", ".join(f"k = {c.k}: {format_number(value)}" for c, value in zip(candidates, values, strict=True)) + "."


@rc_context(RC_PARAMS)
def draw_structure(separation: NullComparison, k: int) -> Chart:
    """Draw the deepest gap between two segments beside those of data without groups, one dot for each null draw."""
    figure, axes = new_figure(170, left=12, bottom=36, top=40)
    heights = _stack_dots(separation.null_draws, separation.observed)
    axes.plot(separation.null_draws, heights, "o", color=UNASSIGNED_COLOUR, markersize=5, markeredgewidth=0)
    axes.axvline(separation.observed, ymax=0.94, color=ACCENT, linewidth=2.5)
    axes.margins(x=0.12)
    axes.set_ylim(0, max(8, *heights) + 1)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("deepest gap between two segments (scaled dip)")
    low, high = axes.get_xlim()
    for x, y, colour, text in (
        (separation.observed, 1.0, ACCENT, f"these customers: {format_score(separation.observed)}"),
        (separation.null_mean, 1.13, MUTED, f"without groups: {format_score(separation.null_mean)} on average"),
    ):
        # Centred above its mark unless it would leave the chart.
        side = "left" if x < low + 0.3 * (high - low) else "right" if x > high - 0.3 * (high - low) else "center"
        text_x = {"left": low, "right": high, "center": x}[side]
        axes.text(text_x, y, text, ha=side, va="bottom", color=colour, transform=axes.get_xaxis_transform())
    return Chart(
        figure,
        "The chosen number of segments beside data without groups",
        f"Deepest gap between two of {k} segments: {format_score(separation.observed)} for these customers; "
        f"{format_score(separation.null_mean)} on average, with a standard deviation of {format_score(separation.null_sd)}, "
        f"in {len(separation.null_draws)} simulated tables without groups, which range from "
        f"{format_score(min(separation.null_draws))} to {format_score(max(separation.null_draws))}.",
    )


def _stack_dots(draws: Sequence[float], observed: float) -> list[int]:
    """Compute the height of each dot so that dots of nearly the same value are stacked."""
    bin_width = (max(*draws, observed) - min(*draws, observed)) / 45 or 1.0
    counts: Counter[int] = Counter()
    heights = []
    for draw in draws:
        counts[round(draw / bin_width)] += 1
        heights.append(counts[round(draw / bin_width)])
    return heights
