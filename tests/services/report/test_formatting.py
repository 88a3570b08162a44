import pytest

from services.report import formatting as words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8950, "8,950"),
        (0, "0"),
        (12345.6, "12,346"),
        (45.26, "45.3"),
        (0.5, "0.50"),
        (0.0712, "0.071"),
        (-3.0, "−3.0"),
        (3e-6, "<0.001"),
        (None, "–"),
    ],
)
def test_a_number_has_thousands_separators_and_the_digits_that_count(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.0002, "<0.1%"), (0.99989, ">99.9%"), (0.034, "3.4%"), (0.214, "21%"), (0.953, "95.3%")],
)
def test_only_nothing_is_zero_percent_and_only_everything_a_hundred(share, text):
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.765, 0.021, "0.77 ± 0.02"),
        (0.97, 0.002, "0.97 ± <0.01"),
        (0.9, None, "0.90"),  # older runs have no standard errors
        (None, None, "–"),
    ],
)
def test_a_measure_stands_with_its_standard_error(value, error, text):
    assert words.with_error(value, error) == text


@pytest.mark.parametrize(("value", "text"), [(25000, "25k"), (1.2e6, "1.2M"), (0.35, "0.35"), (-2000, "−2k"), (3e9, "3bn")])
def test_an_axis_gets_brief_numbers(value, text):
    assert words.compact(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), ([], "–"), (True, "yes"), ([2, 3], "2, 3"), (0.25, "0.25"), ("keep", "keep")]
)
def test_settings_are_written_as_people_write_them(value, text):
    assert words.setting(value) == text


@pytest.mark.parametrize(
    ("jaccard", "word"),
    [(0.59, "not to be trusted"), (0.6, "a pattern with uncertain borders"), (0.75, "stable"), (0.85, "very stable")],
)
def test_stability_is_read_by_the_thresholds_of_hennig(jaccard, word):
    assert words.stability(jaccard) == word


@pytest.mark.parametrize(
    ("silhouette", "word"),
    [
        (0.25, "hardly separated"),
        (0.26, "weakly separated"),
        (0.5, "weakly separated"),
        (0.7, "reasonably separated"),
        (0.71, "strongly separated"),
    ],
)
def test_a_silhouette_is_read_by_the_thresholds_of_kaufman_and_rousseeuw(silhouette, word):
    assert words.separation(silhouette) == word


@pytest.mark.parametrize(("index", "heat"), [(100, 0), (200, 0.5), (50, 0.5), (400, 1), (2760, 1), (0, 1), (-20, 1), (None, 0)])
def test_the_heat_of_an_index_grows_alike_above_and_below_the_average(index, heat):
    assert words.heat(index, effect=0) == heat


def test_without_an_index_the_heat_is_that_of_the_effect():
    assert [words.heat(None, effect) for effect in (0, -1, 1, 5, None)] == [0, 0.5, 0.5, 1, 0]


def test_a_column_may_break_after_its_underscores_and_nothing_in_it_is_markup():
    assert words.breakable("A_<b>") == "A_<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("previous_customers", "is_new", "text"),
    [
        (5, False, "▲ 2 more than last time (40%)"),
        (8, False, "▼ 1 fewer than last time (12%)"),
        (7, False, "as large as last time"),
        (0, False, "▲ 7 more than last time"),
        (None, True, "new segment"),
        (None, False, "there last time, its size then is not known"),
    ],
)
def test_a_segment_is_compared_with_its_size_last_time(findings, previous_customers, is_new, text):
    segment = findings.segmentation.segments[0]
    changed = segment.model_copy(update={"customers": 7, "previous_customers": previous_customers, "is_new": is_new})
    assert words.change(changed) == text
