import pytest

from services.report import charts as pictures
from services.report.alluvial import draw_migration
from services.report.report_data import Move, Point
from services.report.theme import NOBODY, assign_styles

BLUE = "#0072b2"


def test_no_two_segments_look_the_same():
    looks = assign_styles(range(1, 73), gone=())
    assert len({(look.colour, look.marker) for look in looks.values()}) == 72


def test_a_segment_keeps_its_colour_when_another_one_goes():
    assert assign_styles([1, 2, 3], gone=())[3] == assign_styles([1, 3], gone=[2])[3]


def test_a_new_segment_takes_a_colour_that_is_free():
    looks = assign_styles([1, 9], gone=[2])
    assert looks[1].colour == BLUE
    assert looks[9].colour not in (BLUE, NOBODY)
    assert looks[2].colour == NOBODY


def test_the_elbow_is_told_with_every_k(findings):
    told = pictures.draw_elbow(findings.evaluation.candidates, 2, 3).description
    assert "k = 2: 900, k = 3: 500, k = 4: 400. Chosen is k = 2; the elbow is at k = 3." in told


def test_a_curve_without_an_elbow_is_drawn_and_says_so(findings):
    told = pictures.draw_elbow(findings.evaluation.candidates, 2, None).description
    assert "no elbow was found" in told


def test_a_sweep_of_a_single_k_is_drawn(findings):
    single = findings.evaluation.candidates[:1]
    assert "k = 2: 900." in pictures.draw_elbow(single, 2, None).description
    assert "k = 2: 0.61." in pictures.draw_metric("Silhouette", single, [0.61], 2).description


def test_the_silhouettes_are_told_by_segment(findings):
    looks = assign_styles([1, 4], gone=())
    told = pictures.draw_silhouettes(findings.points, findings.segmentation.segments, looks).description
    assert "1 low balance: mean 0.65, 0% of its customers below 0" in told
    assert "4 high balance: mean −0.10, 100% of its customers below 0" in told


def test_the_mean_silhouette_is_that_of_the_customers_drawn(findings):
    points = [Point(0.0, 0.0, 1, silhouette) for silhouette in (0.9, 0.8, 0.1)]
    picture = pictures.draw_silhouettes(points, findings.segmentation.segments, assign_styles([1, 4], gone=()))
    assert picture.description.startswith("3 customers: mean 0.60. 1 low balance: mean 0.60")
    assert "mean 0.60" in [text.get_text() for text in picture.figure.axes[0].texts]


def test_pictures_of_no_points_at_all_are_empty(findings):
    looks = assign_styles([1, 4], gone=())
    assert "0 customers: no silhouettes" in pictures.draw_silhouettes([], findings.segmentation.segments, looks).description
    assert pictures.draw_map([], findings.segmentation.segments, looks).title == "Map of 0 customers"


def test_moves_are_told_the_largest_first(findings):
    told = draw_migration(findings.moves, assign_styles([1, 4], gone=[2])).description
    assert told.startswith(
        "5 of 10 customers stayed in their segment. The largest moves: 3 from 2 old money to 4 high balance; "
    )


@pytest.mark.parametrize("customers", [1, 10**9])
def test_a_single_move_is_drawn_whatever_its_size(customers):
    picture = draw_migration([Move(1, "a", None, "", customers)], assign_styles([1], gone=()))
    assert f"{customers:,} from 1 a to none" in picture.description
