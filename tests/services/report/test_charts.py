import pytest

from services.contract.results import SamplePoint
from services.report.alluvial import Column, Flow, draw_alluvial
from services.report.charts import draw_development, draw_map, draw_silhouettes
from services.report.formatting import format_percent
from services.report.k_charts import draw_elbow, draw_metric
from services.report.theme import UNASSIGNED_COLOUR, assign_styles

BLUE = "#0072b2"


def test_no_two_segments_have_the_same_style():
    styles = assign_styles(range(1, 73))
    assert len({(style.colour, style.marker) for style in styles.values()}) == 72


def test_a_segment_keeps_its_colour_if_another_one_vanishes():
    assert assign_styles([1, 2, 3])[3] == assign_styles([1, 3], vanished_ids=[2])[3]


def test_a_new_segment_gets_an_unused_colour():
    styles = assign_styles([1, 9], vanished_ids=[2])
    assert styles[1].colour == BLUE
    assert styles[9].colour not in (BLUE, UNASSIGNED_COLOUR)
    assert styles[2].colour == UNASSIGNED_COLOUR


def test_the_elbow_chart_describes_every_k(data):
    description = draw_elbow(data.evaluation.candidates, 2, 3).description
    assert "k = 2: 900, k = 3: 500, k = 4: 400. Chosen is k = 2; the elbow is at k = 3." in description


def test_a_curve_without_an_elbow_is_drawn(data):
    assert "no elbow was found" in draw_elbow(data.evaluation.candidates, 2, None).description


def test_a_sweep_of_a_single_k_is_drawn(data):
    single = data.evaluation.candidates[:1]
    assert "k = 2: 900." in draw_elbow(single, 2, None).description
    assert "k = 2: 0.61." in draw_metric("Silhouette", single, [0.61], 2).description


def test_silhouettes_are_described_by_segment(data):
    description = draw_silhouettes(data.points, data.segmentation.segments, assign_styles([1, 4])).description
    assert "1 low balance: mean 0.65, 0% of its customers below 0" in description
    assert "4 high balance: mean −0.10, 100% of its customers below 0" in description


def test_the_mean_silhouette_is_that_of_the_sampled_customers(data):
    points = [SamplePoint(0.0, 0.0, 1, silhouette) for silhouette in (0.9, 0.8, 0.1)]
    chart = draw_silhouettes(points, data.segmentation.segments, assign_styles([1, 4]))
    assert chart.description.startswith("3 customers: mean 0.60. 1 low balance: mean 0.60")
    assert "mean 0.60" in [text.get_text() for text in chart.figure.axes[0].texts]


def test_charts_of_no_customers_are_empty(data):
    styles = assign_styles([1, 4])
    assert "0 customers: no silhouettes" in draw_silhouettes([], data.segmentation.segments, styles).description
    assert draw_map([], data.segmentation.segments, styles).title == "Map of 0 customers"


def test_a_segment_that_some_runs_did_not_have_is_charted_with_a_gap():
    chart = draw_development("Sizes", {1: [0.5, None, 0.6]}, ["2 Nov", "9 Nov", "16 Nov"], assign_styles([1]), format_percent)
    assert chart.description == "3 runs, from 2 Nov to 16 Nov: segment 1: 50% to 60%."


@pytest.mark.parametrize("customers", [1, 10**9])
def test_a_single_flow_is_drawn_at_any_size(customers):
    columns = [Column("previous run", assign_styles([1])), Column("this run", assign_styles([1]))]
    figure = draw_alluvial(columns, [[Flow(1, None, customers)]])
    assert f"none {customers:,}" in [text.get_text() for text in figure.axes[0].texts]


def test_a_column_between_two_others_has_badges_and_no_sizes():
    columns = [Column("2 segments", {}), Column("3 segments", assign_styles([1])), Column("4 segments", {})]
    figure = draw_alluvial(columns, [[Flow(0, 1, 7)], [Flow(1, 0, 5), Flow(1, 3, 2)]])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2 segments", "7", "3 segments", "1", "4 segments", "5", "2"]
