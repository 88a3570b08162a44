import pytest

from services.contract.errors import UsageError
from services.contract.results import Candidate
from services.evaluate.choice import choose_cluster_count, refuse_unfitted
from services.evaluate.elbow import find_elbow


def candidate(k: int, *, silhouette: float = 0.4, weakest: float = 0.9) -> Candidate:
    return Candidate(
        k=k,
        sse=100 / k,
        silhouette=silhouette,
        davies_bouldin=1.0,
        calinski_harabasz=1.0,
        smallest_share=0.1,
        jaccard=(weakest, *[0.95] * (k - 1)),
        ari=0.9,
    )


def test_the_elbow_decides_where_there_is_one():
    choice = choose_cluster_count([candidate(2, silhouette=0.9), candidate(3), candidate(4)], elbow=3, forced=None)
    assert (choice.k, choice.rule) == (3, "elbow")
    assert choice.reason == "k = 3 is the elbow of the SSE curve over k = 2 to 4."


def test_what_is_asked_for_goes_before_the_elbow():
    choice = choose_cluster_count([candidate(2), candidate(3), candidate(4)], elbow=3, forced=4)
    assert (choice.k, choice.rule) == (4, "forced")
    assert choice.reason == "k = 4 was asked for; the SSE curve over k = 2 to 4 has its elbow at 3."


def test_what_is_asked_for_needs_no_elbow():
    choice = choose_cluster_count([candidate(2), candidate(5)], elbow=None, forced=5)
    assert choice.reason == "k = 5 was asked for; the SSE curve over k = 2, 5 has no elbow."


def test_without_an_elbow_the_best_silhouette_among_the_stable_decides():
    candidates = [
        candidate(2, silhouette=0.3),
        candidate(3, silhouette=0.5),
        candidate(4, silhouette=0.6, weakest=0.74),
        candidate(5, silhouette=0.4, weakest=0.75),
    ]
    choice = choose_cluster_count(candidates, elbow=None, forced=None)
    assert (choice.k, choice.rule) == (3, "fallback")
    assert choice.reason == (
        "The SSE curve over k = 2 to 5 has no elbow; of the k whose segments are all stable (2, 3, 5) "
        "3 has the best silhouette, 0.50."
    )


def test_without_an_elbow_and_without_a_stable_k_the_best_silhouette_of_all_decides_and_that_is_said():
    candidates = [candidate(2, silhouette=0.3, weakest=0.5), candidate(3, silhouette=0.5, weakest=0.1)]
    choice = choose_cluster_count(candidates, elbow=None, forced=None)
    assert (choice.k, choice.rule) == (3, "fallback")
    assert choice.reason == (
        "The SSE curve over k = 2, 3 has no elbow; no k has only stable segments, and of all 3 has the best silhouette, 0.50."
    )


def test_of_equal_silhouettes_the_smaller_k_is_taken():
    candidates = [candidate(2, silhouette=0.5), candidate(3, silhouette=0.5)]
    assert choose_cluster_count(candidates, elbow=None, forced=None).k == 2


def test_a_k_that_was_not_fitted_is_refused_with_those_that_were():
    with pytest.raises(UsageError, match="n_clusters is 12, and train has fitted 2 to 10: ask for one of these, or run"):
        refuse_unfitted(12, range(2, 11))


@pytest.mark.parametrize("k", [None, 2, 10])
def test_a_k_that_was_fitted_is_not_refused(k):
    refuse_unfitted(k, range(2, 11))


def test_the_elbow_is_where_the_curve_bends():
    assert find_elbow([2, 3, 4, 5, 6, 7], [100, 60, 20, 17, 15, 13]) == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sse", [[100, 80, 60, 40], [100, 99, 90, 50]])
def test_a_curve_that_is_straight_or_bends_the_other_way_has_no_elbow(sse):
    assert find_elbow([2, 3, 4, 5], sse) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("k_values", "sse"), [([2], [10]), ([2, 3], [10, 1])])
def test_what_makes_no_curve_has_no_elbow(k_values, sse):
    assert find_elbow(k_values, sse) is None


def test_three_points_may_have_one():
    assert find_elbow([2, 3, 8], [10, 2, 1]) == 3
