"""Find the number of clusters beyond which more of them gain little."""

from __future__ import annotations

from collections.abc import Sequence

from kneed import KneeLocator


def find_elbow(k_values: Sequence[int], sse: Sequence[float]) -> int | None:
    """Find the elbow of the SSE curve with Kneedle (Satopaa et al. 2011); None where the curve has none.

    Parameters
    ----------
    k_values : numbers of clusters, ascending
    sse : the sum of squared distances for each of them
    """
    if len(k_values) < 3:  # two points make a straight line
        return None
    elbow = KneeLocator(k_values, sse, curve="convex", direction="decreasing").elbow
    # On a curve that bends the wrong way kneed names an end of it, where nothing can bend.
    return None if elbow is None or elbow in (k_values[0], k_values[-1]) else int(elbow)
