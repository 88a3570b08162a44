import pytest

from services.contract.results import CERTAINTY, Candidate
from services.evaluate.checks import Thresholds, check

THRESHOLDS = Thresholds(min_silhouette=0.25, min_stability=0.6)


def candidate(*jaccard: float | None, silhouette: float = 0.5, error: float = 0.02, **more) -> Candidate:
    return Candidate(
        k=len(jaccard),
        sse=1.0,
        silhouette=silhouette,
        davies_bouldin=1.0,
        calinski_harabasz=1.0,
        smallest_share=0.1,
        jaccard=jaccard,
        jaccard_se=tuple(None if one is None else error for one in jaccard),
        ari=0.9,
        n_resamples=100,
        **more,
    )


def test_a_candidate_that_reaches_every_threshold_exactly_fails_nothing():
    assert check(candidate(0.6, 0.9, silhouette=0.25), THRESHOLDS).failed_checks == ()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (candidate(0.9, 0.9, silhouette=0.2), "the silhouette is 0.200, less than 0.25"),
        (
            candidate(0.9, 0.55),
            "the weakest segment has a stability of 0.550 ± 0.020 over 100 resamples, less than 0.6",
        ),
        (
            candidate(0.5, 0.4, 0.9),
            "the weakest segment has a stability of 0.400 ± 0.020 over 100 resamples, less than 0.6; "
            "2 of 3 segments are below it",
        ),
        (
            candidate(0.7, 0.7, classification="constructive"),
            "the segmentation is constructive: the data has no separate groups, and resamples do not give the same segments",
        ),
    ],
)
def test_each_failed_check_names_the_value_and_the_threshold(found, sentence):
    assert check(found, THRESHOLDS).failed_checks == (sentence,)


@pytest.mark.parametrize("classification", ["natural", "reproducible"])
def test_other_kinds_of_segmentation_pass(classification):
    assert check(candidate(0.7, 0.7, classification=classification), THRESHOLDS).failed_checks == ()


def test_a_segment_that_is_too_small_to_assess_fails_nothing():
    assert check(candidate(0.9, None), THRESHOLDS).failed_checks == ()
    assert check(candidate(None, None), THRESHOLDS).failed_checks == ()


def test_screening_excludes_only_candidates_below_the_threshold_by_more_than_three_standard_errors():
    assert check(candidate(0.55, 0.9, error=0.02), THRESHOLDS, margin=CERTAINTY).failed_checks == ()
    assert len(check(candidate(0.53, 0.9, error=0.02), THRESHOLDS, margin=CERTAINTY).failed_checks) == 1
    assert len(check(candidate(0.9, 0.9, silhouette=0.2), THRESHOLDS, margin=CERTAINTY).failed_checks) == 1


def test_a_full_estimate_replaces_the_screening_estimate():
    screened = check(candidate(0.4, 0.9), THRESHOLDS, margin=CERTAINTY)
    assert screened.failed_checks
    full = screened.model_copy(update={"jaccard": (0.7, 0.9)})
    assert check(full, THRESHOLDS).failed_checks == ()


@pytest.mark.parametrize(
    ("one", "passes"),
    [
        (candidate(0.9, 0.82), True),  # stable by more than three standard errors: at least reproducible
        (candidate(0.9, 0.80), None),  # stable, but not beyond doubt
        (candidate(0.9, None), None),
        (candidate(0.9, 0.9, failed_checks=("the silhouette is low",)), False),
    ],
)
def test_without_a_structure_test_a_candidate_passes_only_if_it_is_stable_beyond_doubt(one, passes):
    assert one.passes is passes
