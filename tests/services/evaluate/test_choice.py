import pytest

from services.contract.results import Candidate, FeatureDip, NullComparison, Structure
from services.evaluate.choice import choose_cluster_count, require_fitted_k
from services.evaluate.elbow import find_elbow
from stagekit.errors import UsageError

STRUCTURE = Structure(
    k=2,
    n_customers=10,
    separation=NullComparison(
        observed=0.61, null_draws=(0.55, 0.57, 0.58, 0.6), null_mean=0.575, null_sd=0.018, p_value=0.2, effect=1.06
    ),
    silhouette=NullComparison(
        observed=0.5, null_draws=(0.4, 0.5, 0.5, 0.6), null_mean=0.5, null_sd=0.08, p_value=0.8, effect=0.0
    ),
    feature_dips=(FeatureDip(dip=0.02, null_mean=0.01),),
    is_structured=False,
)


def candidate(k: int, *, silhouette: float = 0.4, fails: str = "") -> Candidate:
    return Candidate(
        k=k,
        sse=100 / k,
        silhouette=silhouette,
        davies_bouldin=1.0,
        calinski_harabasz=1.0,
        smallest_share=0.1,
        jaccard=(0.9,) * k,
        jaccard_se=(0.01,) * k,
        ari=0.9,
        ari_se=0.01,
        n_resamples=20,
        failed_checks=(fails,) if fails else (),
    )


class Assessments:
    """Assesses candidates: those named in `failing` fail; `order` is that of the assessments."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.order: list[int] = []

    def __call__(self, candidate: Candidate, in_full: bool) -> Candidate:
        self.order.append(candidate.k)
        fails = ("it is unstable",) if candidate.k in self.failing else candidate.failed_checks
        found = {"structure": None if fails and not in_full else STRUCTURE, "n_resamples": 100, "failed_checks": fails}
        return candidate.model_copy(update=found)


def choose(*candidates: Candidate, elbow: int | None = None, requested: int | None = None, failing: tuple[int, ...] = ()):
    assessments = Assessments(*failing)
    return choose_cluster_count(candidates, elbow, requested, assessments), assessments.order


def test_an_elbow_that_passes_is_chosen_and_no_other_k_is_assessed():
    choice, assessed = choose(candidate(2, silhouette=0.9), candidate(3), candidate(4), elbow=3)
    assert (choice.k, choice.rule, assessed) == (3, "elbow", [3])
    homogeneous = "With more than 3 segments the groups become only slightly more homogeneous"
    assert choice.reason == f"{homogeneous} (elbow of the SSE curve over k = 2 to 4)."
    assert [(one.k, one.structure is not None) for one in choice.candidates] == [(2, False), (3, True), (4, False)]


def test_the_requested_k_takes_precedence_over_the_elbow():
    choice, assessed = choose(candidate(2), candidate(3), candidate(4), elbow=3, requested=4)
    assert (choice.k, choice.rule, assessed) == (4, "forced", [4])
    assert choice.reason == "k = 4 was requested; the SSE curve over k = 2 to 4 has its elbow at 3."


def test_the_requested_k_needs_no_elbow():
    choice, _ = choose(candidate(2), candidate(5), requested=5)
    assert choice.reason == "k = 5 was requested; the SSE curve over k = 2, 5 has no elbow."


def test_a_requested_k_that_fails_is_kept_and_has_its_structure_tested_for_the_report():
    choice, assessed = choose(candidate(2), candidate(3), requested=3, failing=(3,))
    assert (choice.k, assessed) == (3, [3])
    assert choice.candidates[1].failed_checks == ("it is unstable",)
    assert choice.candidates[1].structure == STRUCTURE


def test_if_the_elbow_fails_the_largest_silhouette_that_passes_is_chosen_with_the_reason():
    candidates = [
        candidate(2, silhouette=0.3),
        candidate(3, silhouette=0.5),
        candidate(4, silhouette=0.7),
        candidate(5, silhouette=0.6),
    ]
    choice, assessed = choose(*candidates, elbow=4, failing=(4, 5))
    assert (choice.k, choice.rule) == (3, "fallback")
    assert assessed == [4, 5, 3]  # by silhouette, until one passes: 2 needs no assessment
    assert choice.reason == (
        "k = 3 has the largest mean silhouette, 0.50, of the k that pass every check (Rousseeuw 1987); "
        "the elbow of the SSE curve over k = 2 to 5, k = 4, fails: it is unstable."
    )


def test_without_an_elbow_the_largest_silhouette_that_passes_is_chosen():
    choice, assessed = choose(candidate(2, silhouette=0.3), candidate(3, silhouette=0.5), candidate(4, silhouette=0.4))
    assert (choice.k, choice.rule, assessed) == (3, "fallback", [3])
    assert choice.reason == (
        "k = 3 has the largest mean silhouette, 0.50, of the k that pass every check (Rousseeuw 1987); "
        "the SSE curve over k = 2 to 4 has no elbow."
    )


def test_a_k_that_fails_a_quick_check_is_not_assessed():
    choice, assessed = choose(candidate(2, silhouette=0.9, fails="it is unstable"), candidate(3, silhouette=0.5))
    assert (choice.k, assessed) == (3, [3])
    assert choice.candidates[0].passes is False


def test_if_no_k_passes_the_elbow_is_chosen_with_the_reason():
    choice, _ = choose(candidate(2), candidate(3), candidate(4), elbow=3, failing=(2, 3, 4))
    assert (choice.k, choice.rule) == (3, "elbow")
    assert choice.reason.endswith("(elbow of the SSE curve over k = 2 to 4); no k passes every check.")


def test_if_no_k_passes_and_there_is_no_elbow_the_largest_silhouette_of_all_is_chosen_with_its_structure():
    choice, _ = choose(candidate(2, silhouette=0.3), candidate(3, silhouette=0.5, fails="it is unstable"), failing=(2,))
    assert (choice.k, choice.rule) == (3, "fallback")
    assert choice.reason == (
        "k = 3 has the largest mean silhouette, 0.50, of all k (Rousseeuw 1987); "
        "the SSE curve over k = 2, 3 has no elbow, and no k passes every check."
    )
    assert choice.candidates[1].structure == STRUCTURE


def test_of_equal_silhouettes_the_smaller_k_is_taken():
    choice, _ = choose(candidate(2, silhouette=0.5), candidate(3, silhouette=0.5))
    assert choice.k == 2


@pytest.mark.parametrize("requested", [None, 4])
def test_a_single_k_leaves_no_choice_to_explain(requested):
    choice, assessed = choose(candidate(4), requested=requested, failing=(4,))
    assert (choice.k, choice.rule, assessed) == (4, "only", [4])
    assert choice.reason == "k = 4 is the only number of segments that was fitted."


def test_a_k_that_was_not_fitted_is_rejected_with_those_that_were():
    with pytest.raises(UsageError, match=r"n_clusters is 12, expected one of k_values \(2, 3, .*10\).* and run train again"):
        require_fitted_k(12, range(2, 11))


@pytest.mark.parametrize("k", [None, 2, 10])
def test_a_k_that_was_fitted_is_accepted(k):
    require_fitted_k(k, range(2, 11))


def test_the_elbow_is_where_the_curve_bends():
    assert find_elbow([2, 3, 4, 5, 6, 7], [100, 60, 20, 17, 15, 13]) == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sse", [[100, 80, 60, 40], [100, 99, 90, 50]])
def test_a_curve_that_is_straight_or_bends_the_other_way_has_no_elbow(sse):
    assert find_elbow([2, 3, 4, 5], sse) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("k_values", "sse"), [([2], [10]), ([2, 3], [10, 1])])
def test_too_few_points_have_no_elbow(k_values, sse):
    assert find_elbow(k_values, sse) is None


def test_three_points_may_have_one():
    assert find_elbow([2, 3, 8], [10, 2, 1]) == 3
