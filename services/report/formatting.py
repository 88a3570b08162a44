"""Numbers as people read them, and what they mean in a word, by the thresholds of those who proposed the measures."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from markupsafe import Markup

from services.contract.results import Segment


def number(value: float | None) -> str:
    """Write three digits that count, with thousands separators: 12,345, 312, 45.3, 0.071."""
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


def whole(value: float | None) -> str:
    return number(None if value is None else round(value))


def score(value: float | None) -> str:
    """Write a measure between -1 and 1 with two decimals; a dash for None."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def with_error(value: float | None, error: float | None) -> str:
    """Write a measure between 0 and 1 with its standard error; without it if that is not known."""
    if value is None or error is None:
        return score(value)
    return f"{score(value)} ± {error:.2f}" if error >= 0.005 else f"{score(value)} ± <0.01"


def percent(share: float) -> str:
    """Write a share so that only nothing is 0% and only everything 100%."""
    if share in (0, 1):
        return f"{share:.0%}"
    if share < 0.001:
        return "<0.1%"
    if share > 0.999:
        return ">99.9%"
    return f"{share:.0%}" if 0.1 <= share < 0.9 else f"{share:.1%}"


def compact(value: float) -> str:
    """Write a number as briefly as an axis needs it: 25k, 1.2M, 0.35."""
    for size, suffix in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


def setting(value: Any) -> str:
    """Write a setting's JSON value."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def stability(jaccard: float | None) -> str:
    """Hennig (2007), clusterboot."""
    if jaccard is None:
        return "too small to assess"
    if jaccard < 0.6:
        return "not to be trusted"
    if jaccard < 0.75:
        return "a pattern with uncertain borders"
    return "stable" if jaccard < 0.85 else "very stable"


CONSEQUENCES = {
    "natural": "These groups are separate in the data: customers of one segment differ from those of the next by more than "
    "drawing borders through one large group would explain.",
    "reproducible": "There are no gaps between these groups: customers near a border resemble those beyond it, "
    "although the same segments are found in every sample of the customers.",
    "constructive": "There are no gaps between these groups, and other samples of the customers give other borders: "
    "do not rely on these segments.",
}
"""What the kind of segmentation (Dolnicar, Grün and Leisch 2018) means for the readers of the report."""


def consequence(classification: str) -> str:
    return CONSEQUENCES[classification]


def separation(silhouette: float) -> str:
    """Kaufman and Rousseeuw (1990)."""
    if silhouette <= 0.25:
        return "hardly separated"
    if silhouette <= 0.5:
        return "weakly separated"
    return "reasonably separated" if silhouette <= 0.7 else "strongly separated"


def shift(psi: float) -> str:
    """The usual reading of the population stability index in credit scoring (Siddiqi 2006)."""
    if psi < 0.1:
        return "no shift"
    return "some shift" if psi < 0.25 else "a marked shift"


def change(segment: Segment) -> str:
    """Say how a segment's size compares with last time."""
    if segment.is_new:
        return "new segment"
    before = segment.previous_customers
    if before is None:  # the customers of one of the runs have no id
        return "there last time, its size then is not known"
    difference = segment.customers - before
    if difference == 0:
        return "as large as last time"
    arrow, more = ("▲", "more") if difference > 0 else ("▼", "fewer")
    share = f" ({percent(abs(difference) / before)})" if before else ""
    return f"{arrow} {abs(difference):,} {more} than last time{share}"


def heat(index: float | None, effect: float | None = None) -> float:
    """Return how far a mean is from the average, from 0 to 1: 1 for an index of 25 or less, or of 400 or more.

    Without an index it is the effect that counts: 1 from 2 standard deviations on.
    """
    if index is None:
        return min(abs(effect or 0) / 2, 1)
    return min(abs(math.log2(index / 100)) / 2, 1) if index > 0 else 1


def breakable(name: str) -> Markup:
    """Let a column's name break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))
