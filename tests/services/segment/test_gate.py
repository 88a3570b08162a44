import pytest

from services.contract.results import WEAKEST_SEGMENT, Segment
from services.segment.gate import Gate, find_failed_checks, find_unassessed


def segment(segment_id: int, customers: int = 10, jaccard: float | None = 0.9) -> Segment:
    return Segment(
        segment_id=segment_id,
        name=f"name {segment_id}",
        customers=customers,
        share=0.5,
        centroid={},
        distinguishing_features=(),
        jaccard=jaccard,
        is_new=False,
        previous_customers=None,
    )


def failed(*segments: Segment, checks=(), n_unassigned=0, newer_run=None) -> list[str]:
    return list(find_failed_checks(checks, segments, n_unassigned, 1000, newer_run, max_unassigned=0.05))


def test_a_run_that_reaches_every_threshold_exactly_fails_no_check():
    assert failed(segment(1), segment(2, customers=1), n_unassigned=50) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (failed(segment(1), segment(2, customers=0)), "segment 2 (name 2) is empty"),
        (failed(segment(1), checks=["the silhouette is 0.200, less than 0.25"]), "the silhouette is 0.200, less than 0.25"),
        (failed(segment(1), n_unassigned=51), "51 of 1000 customers have no segment: 5.1%, more than 5%"),
        (failed(segment(1), newer_run="later"), "run later is active and newer than this one"),
    ],
)
def test_each_failed_check_has_its_figure(found, reason):
    assert found == [reason]


def test_the_weakest_segment_gets_its_id_and_name():
    check = f"{WEAKEST_SEGMENT} has a stability of 0.550, less than 0.6"
    segments = segment(4, jaccard=0.8), segment(7, jaccard=0.55), segment(5, jaccard=None)
    assert failed(*segments, checks=[check]) == ["segment 7 (name 7) has a stability of 0.550, less than 0.6"]


def test_a_segment_that_is_too_small_to_assess_is_a_warning_and_fails_nothing():
    tiny = segment(3, customers=4, jaccard=None)
    assert failed(segment(1), tiny) == []
    assert list(find_unassessed([segment(1), tiny])) == ["segment 3 (name 3) is too small to assess its stability: 4 customers"]


@pytest.mark.parametrize(
    ("publish", "failed_checks", "is_open"),
    [
        ("if-passed", (), True),
        ("if-passed", ("it is weak",), False),
        ("always", ("it is weak",), True),
        ("never", (), False),
    ],
)
def test_what_is_published_follows_the_checks_and_the_setting(publish, failed_checks, is_open):
    assert Gate(0.05, publish).is_open(failed_checks) == is_open
