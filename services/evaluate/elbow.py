"""Find the elbow: the number of clusters beyond which adding another one hardly lowers the SSE."""

from __future__ import annotations

from collections.abc import Sequence

from kneed import KneeLocator


def find_elbow(k_values: Sequence[int], sse: Sequence[float]) -> int | None:
    """Find the elbow of the SSE curve with Kneedle.

    Parameters
    ----------
    k_values : sequence of int
        Numbers of clusters, ascending.
    sse : sequence of float
        Sum of squared distances for each of them.

    Returns
    -------
    int or None
        One of `k_values`, neither the first nor the last; None if the curve has no elbow.

    References
    ----------
    Satopaa, Albrecht, Irwin and Raghavan (2011), Finding a "Kneedle" in a haystack.
    """
    if len(k_values) < 3:  # two points form a straight line
        return None
    elbow = KneeLocator(k_values, sse, curve="convex", direction="decreasing").elbow
    # On a concave curve kneed returns one of its ends, which cannot be an elbow.
    return None if elbow is None or elbow in (k_values[0], k_values[-1]) else int(elbow)
