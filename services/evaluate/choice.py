"""Choose the number of segments and give the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from services.contract.results import Candidate
from services.contract.settings import require_fitted
from stagekit.errors import UsageError


class Choice(NamedTuple):
    """The chosen number of segments."""

    k: int
    rule: Literal["elbow", "fallback", "forced", "only"]
    reason: str
    """One sentence for people."""
    candidates: tuple[Candidate, ...]
    """All of them, ascending by k, with the full estimates of those that were assessed."""


def require_fitted_k(k: int | None, k_values: Sequence[int]) -> None:
    """Check that train has fitted the requested number of segments.

    Raises
    ------
    UsageError
        If it has not.
    """
    try:
        if k is not None:
            require_fitted(k, k_values)
    except ValueError as error:
        raise UsageError(f"{error} and run train again") from None


def choose_cluster_count(
    candidates: Sequence[Candidate], elbow: int | None, requested: int | None, assess: Callable[[Candidate, bool], Candidate]
) -> Choice:
    """Choose the requested k; else the elbow if it passes every check; else the k with the largest silhouette that does.

    The last rule uses the mean silhouette as proposed by Rousseeuw (1987), and the smaller k of equal ones. Candidates are
    assessed in this order until one passes, because the assessment takes most of the time. If none passes, the choice is the
    elbow, or the largest silhouette of all if there is no elbow; the failed checks then prevent its publication.

    Parameters
    ----------
    candidates : sequence of Candidate
        The k of the sweep, ascending, at least one, each with the checks that it fails for certain.
    elbow, requested : int or None
        The k of a candidate, or None.
    assess : callable
        Returns a candidate with full estimates and the checks that it fails. The second argument is whether to test the
        structure even if another check has failed.

    References
    ----------
    Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of cluster analysis.
    """
    by_k = {candidate.k: candidate for candidate in candidates}
    curve = f"the SSE curve over k = {_join(list(by_k))}"
    gain_little = f"With more than {elbow} segments the groups become only slightly more homogeneous (elbow of {curve})"

    def choice(k: int, rule: Literal["elbow", "fallback", "forced", "only"], reason: str) -> Choice:
        if by_k[k].structure is None:
            by_k[k] = assess(by_k[k], True)
        return Choice(k, rule, reason, tuple(by_k.values()))

    if len(by_k) == 1:
        (only,) = by_k
        return choice(only, "only", f"k = {only} is the only number of segments that was fitted.")
    if requested is not None:
        has_elbow = "has no elbow" if elbow is None else f"has its elbow at {elbow}"
        return choice(requested, "forced", f"k = {requested} was requested; {curve} {has_elbow}.")
    why_not = f"{curve} has no elbow"
    if elbow is not None:
        by_k[elbow] = assess(by_k[elbow], True)
        if not by_k[elbow].failed_checks:
            return choice(elbow, "elbow", f"{gain_little}.")
        why_not = f"the elbow of {curve}, k = {elbow}, fails: {'; '.join(by_k[elbow].failed_checks)}"

    ranking = sorted((k for k in by_k if k != elbow), key=lambda k: (-by_k[k].silhouette, k))
    for k in ranking:
        if not by_k[k].failed_checks:
            by_k[k] = assess(by_k[k], False)
            if not by_k[k].failed_checks:
                best = f"k = {k} has the largest mean silhouette, {by_k[k].silhouette:.2f}, of the k that pass every check"
                return choice(k, "fallback", f"{best} (Rousseeuw 1987); {why_not}.")
    if elbow is not None:
        return choice(elbow, "elbow", f"{gain_little}; no k passes every check.")
    best = f"k = {ranking[0]} has the largest mean silhouette, {by_k[ranking[0]].silhouette:.2f}, of all k (Rousseeuw 1987)"
    return choice(ranking[0], "fallback", f"{best}; {why_not}, and no k passes every check.")


def _join(numbers: Sequence[int]) -> str:
    """Write 2, 3, 4, 5 as "2 to 5"."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
