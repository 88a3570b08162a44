"""Choose the number of segments, and say why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from services.contract.errors import UsageError
from services.contract.results import Candidate

STABLE = 0.75  # bootstrap Jaccard similarity from which Hennig (2007) calls a cluster stable


class Choice(NamedTuple):
    k: int
    rule: Literal["elbow", "fallback", "forced"]
    reason: str
    """One sentence for people."""


def refuse_unfitted(k: int | None, k_values: Sequence[int]) -> None:
    """Raise UsageError where the number that is asked for is none of those that were fitted."""
    if k is not None and k not in k_values:
        raise UsageError(
            f"n_clusters is {k}, and train has fitted {_join(k_values)}: "
            f"ask for one of these, or run train with {k} among its k_values"
        )


def choose_cluster_count(candidates: Sequence[Candidate], elbow: int | None, forced: int | None) -> Choice:
    """Choose by what is asked for, else by the elbow, else by stability and silhouette.

    The last rule is for an SSE curve without an elbow. Of the k whose clusters are all stable (bootstrap Jaccard similarity of
    0.75 or more, Hennig 2007) it takes the one with the largest mean silhouette (Rousseeuw 1987), the smaller one of equals;
    where no k is that stable, it looks at all of them.

    Parameters
    ----------
    candidates : the k of the sweep, ascending, at least one; `elbow` and `forced` are among them or None
    """
    curve = f"the SSE curve over k = {_join([candidate.k for candidate in candidates])}"
    if forced is not None:
        found = "has no elbow" if elbow is None else f"has its elbow at {elbow}"
        return Choice(forced, "forced", f"k = {forced} was asked for; {curve} {found}.")
    if elbow is not None:
        return Choice(elbow, "elbow", f"k = {elbow} is the elbow of {curve}.")
    stable = [candidate for candidate in candidates if candidate.weakest is not None and candidate.weakest >= STABLE]
    best = max(stable or candidates, key=lambda candidate: candidate.silhouette)
    if stable:
        among = f"of the k whose segments are all stable ({_join([candidate.k for candidate in stable])})"
    else:
        among = "no k has only stable segments, and of all"
    return Choice(
        best.k,
        "fallback",
        f"{curve[0].upper()}{curve[1:]} has no elbow; {among} {best.k} has the best silhouette, {best.silhouette:.2f}.",
    )


def _join(numbers: Sequence[int]) -> str:
    """Write 2, 3, 4, 5 as "2 to 5"."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
