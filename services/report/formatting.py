"""Numbers as people read them, and verdicts in words, by the published thresholds of each measure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from services.contract.results import Candidate, Segment


def format_number(value: float | None) -> str:
    """Format with three significant digits and thousands separators: 12,345, 312, 45.3, 0.071."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 100 or value == 0:
        text = f"{value:,.0f}"
    elif abs(value) >= 1:
        text = f"{value:,.1f}"
    elif abs(value) >= 0.1:
        text = f"{value:.2f}"
    elif abs(value) >= 0.001:
        text = f"{value:.2g}"
    else:
        text = "<0.001" if value > 0 else ">-0.001"
    return text.replace("-", "−")


def format_score(value: float | None) -> str:
    """Format a measure between -1 and 1 with two decimals; a dash for None."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def format_difference(value: float | None) -> str:
    """Format a standardised difference with sign and one decimal; a dash for None."""
    if value is None:
        return "–"
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")


def format_with_error(value: float | None, error: float | None) -> str:
    """Format a measure between 0 and 1 with its standard error, without it if it is unknown."""
    if value is None or error is None:
        return format_score(value)
    return f"{format_score(value)} ± {error:.2f}" if error >= 0.005 else f"{format_score(value)} ± <0.01"


def format_percent(share: float) -> str:
    """Format a share so that only 0 is 0% and only 1 is 100%."""
    if share in (0, 1):
        return f"{share:.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.0%}" if 0.1 <= share < 0.9 else f"{share:.1%}"


def format_compact(value: float) -> str:
    """Format a number for an axis: 25k, 1.2M, 0.35."""
    for size, suffix in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def format_date(moment: datetime) -> str:
    """Format a date, for example 5 January 2026."""
    return f"{moment.day} {moment:%B %Y}"


def format_setting(value: Any) -> str:
    """Format the JSON value of a setting."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def stability_label(jaccard: float | None) -> str:
    """Interpret a bootstrap Jaccard similarity by the thresholds of Hennig (2007), clusterboot."""
    if jaccard is None:
        return "too small to assess"
    if jaccard < 0.6:
        return "not reliable"
    if jaccard < 0.75:
        return "a pattern with uncertain borders"
    return "stable" if jaccard < 0.85 else "very stable"


def separation_label(silhouette: float) -> str:
    """Interpret a mean silhouette by the thresholds of Kaufman and Rousseeuw (1990)."""
    if silhouette <= 0.25:
        return "hardly separated"
    if silhouette <= 0.5:
        return "weakly separated"
    return "reasonably separated" if silhouette <= 0.7 else "strongly separated"


def drift_label(psi: float) -> str:
    """Interpret a population stability index by the usual thresholds of credit scoring (Siddiqi 2006)."""
    if psi < 0.1:
        return "no drift"
    return "moderate drift" if psi < 0.25 else "strong drift"


_VERDICTS = {
    "natural": "Yes: these groups are separate in the data; customers of one segment differ from those of the next by more "
    "than drawing borders through one large group would explain.",
    "reproducible": "Yes, except near the borders: every sample of the customers gives the same segments, but there are no "
    "gaps between them, so customers near a border resemble those beyond it.",
    "constructive": "No: there are no gaps between these groups, and other samples of the customers give other borders.",
}
"""What the kind of segmentation (Dolnicar, Grün and Leisch 2018) means for the reader of the report."""


def reliability_verdict(chosen: Candidate, segments: Sequence[Segment]) -> str:
    """Answer in one sentence whether the reader can rely on the segments, with a second one if single segments are unstable."""
    unstable = [segment.segment_id for segment in segments if segment.jaccard is not None and segment.jaccard < 0.6]
    if chosen.classification:
        verdict = _VERDICTS[chosen.classification]
    elif unstable:
        verdict = "Not on all of them: other samples of the customers do not give the same segments."
    else:
        verdict = (
            "As far as it was tested: other samples of the customers give similar segments; "
            "whether there are gaps between them was not tested."
        )
    if unstable and chosen.classification != "constructive":
        numbers = ", ".join(map(str, unstable))
        return f"{verdict} Do not rely on segment{'s' if len(unstable) > 1 else ''} {numbers}."
    return verdict


def size_change(segment: Segment) -> str:
    """Compare a segment's size with that in the previous run."""
    if segment.is_new:
        return "new segment"
    previous = segment.previous_customers
    if previous is None:  # the customers of one of the runs have no id
        return "existing segment; previous size unknown"
    difference = segment.customers - previous
    if difference == 0:
        return "same size as in the previous run"
    arrow, comparative = ("▲", "more") if difference > 0 else ("▼", "fewer")
    share = f" ({format_percent(abs(difference) / previous)})" if previous else ""
    return f"{arrow} {abs(difference):,} {comparative} than in the previous run{share}"


def heat_intensity(difference: float | None) -> float:
    """Map a standardised difference to a colour intensity from 0 to 1, which is 1 from 2 standard deviations."""
    return min(abs(difference or 0) / 2, 1)


def with_word_breaks(name: str) -> Markup:
    """Allow a line break after each underscore of a column's name."""
    return Markup("_<wbr>").join(name.split("_"))
