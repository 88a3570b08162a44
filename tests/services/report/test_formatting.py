import pytest

from services.report import formatting


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
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.0002, "<0.1%"), (0.99989, ">99.9%"), (0.034, "3.4%"), (0.214, "21%"), (0.953, "95.3%")],
)
def test_only_nothing_is_zero_percent_and_only_everything_a_hundred(share, text):
    assert formatting.format_percent(share) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.765, 0.021, "0.77 ± 0.02"),
        (0.97, 0.002, "0.97 ± <0.01"),
        (0.9, None, "0.90"),  # older runs have no standard errors
        (None, None, "–"),
    ],
)
def test_a_measure_has_its_standard_error(value, error, text):
    assert formatting.format_with_error(value, error) == text


@pytest.mark.parametrize(("value", "text"), [(25000, "25k"), (1.2e6, "1.2M"), (0.35, "0.35"), (-2000, "−2k"), (3e9, "3bn")])
def test_an_axis_gets_brief_numbers(value, text):
    assert formatting.format_compact(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), ([], "–"), (True, "yes"), ([2, 3], "2, 3"), (0.25, "0.25"), ("keep", "keep")]
)
def test_settings_are_formatted_for_people(value, text):
    assert formatting.format_setting(value) == text


@pytest.mark.parametrize(
    ("jaccard", "word"),
    [(0.59, "not reliable"), (0.6, "a pattern with uncertain borders"), (0.75, "stable"), (0.85, "very stable")],
)
def test_stability_is_interpreted_by_the_thresholds_of_hennig(jaccard, word):
    assert formatting.stability_label(jaccard) == word


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
def test_a_silhouette_is_interpreted_by_the_thresholds_of_kaufman_and_rousseeuw(silhouette, word):
    assert formatting.separation_label(silhouette) == word


@pytest.mark.parametrize(("difference", "intensity"), [(0, 0), (1, 0.5), (-1, 0.5), (2, 1), (-7, 1), (None, 0)])
def test_the_heat_of_a_difference_is_the_same_above_and_below(difference, intensity):
    assert formatting.heat_intensity(difference) == intensity


@pytest.mark.parametrize(("difference", "text"), [(1.26, "+1.3"), (-0.5, "−0.5"), (-0.04, "0.0"), (None, "–")])
def test_a_difference_has_a_sign_unless_it_is_zero(difference, text):
    assert formatting.format_difference(difference) == text


@pytest.mark.parametrize(("psi", "label"), [(0.09, "no drift"), (0.1, "moderate drift"), (0.25, "strong drift")])
def test_drift_is_interpreted_by_the_thresholds_of_credit_scoring(psi, label):
    assert formatting.drift_label(psi) == label


@pytest.mark.parametrize(
    ("classification", "jaccard", "verdict"),
    [
        ("natural", 0.9, "Yes: these groups are separate"),
        ("reproducible", 0.9, "Yes, except near the borders"),
        ("constructive", 0.5, "No: there are no gaps"),
        (None, 0.9, "As far as it was tested"),
        (None, 0.5, "Not on all of them"),
    ],
)
def test_the_verdict_is_one_sentence(data, classification, jaccard, verdict):
    chosen = data.chosen.model_copy(update={"classification": classification})
    segments = [segment.model_copy(update={"jaccard": jaccard}) for segment in data.segmentation.segments]
    assert formatting.reliability_verdict(chosen, segments).startswith(verdict)


def test_unstable_segments_are_named_after_the_verdict(data):
    first, second = data.segmentation.segments
    segments = [first.model_copy(update={"jaccard": 0.59}), second.model_copy(update={"jaccard": None})]
    assert formatting.reliability_verdict(data.chosen, segments).endswith(" Do not rely on segment 1.")


def test_a_column_may_break_after_its_underscores_and_is_escaped():
    assert formatting.with_word_breaks("A_<b>") == "A_<wbr>&lt;b&gt;"


@pytest.mark.parametrize(
    ("previous_customers", "is_new", "text"),
    [
        (5, False, "▲ 2 more than in the previous run (40%)"),
        (8, False, "▼ 1 fewer than in the previous run (12%)"),
        (7, False, "same size as in the previous run"),
        (0, False, "▲ 7 more than in the previous run"),
        (None, True, "new segment"),
        (None, False, "existing segment; previous size unknown"),
    ],
)
def test_a_segment_is_compared_with_its_previous_size(data, previous_customers, is_new, text):
    segment = data.segmentation.segments[0]
    changed = segment.model_copy(update={"customers": 7, "previous_customers": previous_customers, "is_new": is_new})
    assert formatting.size_change(changed) == text
