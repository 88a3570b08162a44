import pytest

from services.contract.results import Segment
from services.segment.gate import Floors, find_misses

FLOORS = Floors(silhouette=0.25, stability=0.6, unassigned=0.05)


def segment(segment_id: int, customers: int = 10, jaccard: float = 0.9) -> Segment:
    return Segment(
        segment_id=segment_id,
        name=f"name {segment_id}",
        customers=customers,
        share=0.5,
        centroid={},
        sets_apart=(),
        jaccard=jaccard,
        is_new=False,
        previous_customers=None,
    )


def misses(*segments: Segment, silhouette=0.5, unassigned=0, newer=None) -> list[str]:
    return list(find_misses(segments, silhouette, unassigned, 1000, newer, FLOORS))


def test_who_reaches_every_floor_exactly_comes_into_force():
    assert misses(segment(1, jaccard=0.6), segment(2, customers=1), silhouette=0.25, unassigned=50) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (misses(segment(1), segment(2, customers=0)), "segment 2 (name 2) is empty"),
        (misses(segment(1), silhouette=0.2), "the silhouette is 0.200, less than 0.25"),
        (misses(segment(1, jaccard=0.55)), "segment 1 (name 1) has a stability of 0.550, less than 0.6"),
        (misses(segment(1), unassigned=51), "51 of 1000 customers have no segment: 5.1%, more than 5%"),
        (misses(segment(1), newer="later"), "run later is in force and newer than this one"),
    ],
)
def test_each_miss_is_told_with_its_figure(found, reason):
    assert found == [reason]
