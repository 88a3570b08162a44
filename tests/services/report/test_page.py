import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from services.contract.results import SEGMENTS_COLUMNS, Evaluation, LabelledCustomer, MigrationRow, SamplePoint, Segmentation
from services.report.page import render
from stagekit.volume.manifest import FileRecord
from tests.services.report.conftest import flow, numeric_row, profile_row, rule, text_row

INJECTION = "\"><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
INLINE = {"span", "strong", "wbr", "small"}
VOID = {"meta", "br", "wbr", "input", "img", "link", "hr", "base"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.elements = []
        self.open = []
        self.chunks = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", "".join(self.chunks))
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.separate(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.separate(tag)

    def separate(self, tag):
        if tag not in INLINE:
            self.handle_data(" ")

    def handle_data(self, data):
        if "style" not in self.open and "svg" not in self.open:
            self.chunks.append(data)

    def section(self, start, end):
        """Return the text from one heading up to another one."""
        begin = self.text.index(start, self.text.index("Technical details") + 1)  # after the links to the sections
        return self.text[begin : self.text.index(end, begin + 1)]

    def tags(self):
        return {tag for tag, _ in self.elements}

    def attributes(self):
        return [item for _, attributes in self.elements for item in attributes.items()]


@pytest.fixture(scope="module")
def page(data):
    return Page(render(data))


@pytest.fixture
def text_of(without_charts):
    """Render the page without its charts and return its text."""
    return lambda data: Page(render(data)).text


def with_segmentation(data, **fields):
    return data._replace(segmentation=data.segmentation.model_copy(update=fields))


def with_chosen(data, **fields):
    """Change the chosen candidate."""
    chosen, *others = data.evaluation.candidates
    candidates = (chosen.model_copy(update=fields), *others)
    return data._replace(evaluation=data.evaluation.model_copy(update={"candidates": candidates}))


# --- the page as a whole


def test_the_page_loads_nothing(page):
    assert not page.tags() & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "foreignobject"}
    assert all(value.startswith("#") for name, value in page.attributes() if name.endswith("href"))
    assert not [
        name for name, _ in page.attributes() if name in ("src", "srcset", "action", "xlink:href") or name.startswith("on")
    ]
    assert not re.search(r"//|@import|url\((?!#)", page.html.replace("<!doctype html>", ""))


def test_the_policy_of_the_page_lets_a_browser_fetch_and_run_nothing(page):
    assert (
        "content",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ) in page.attributes()


def test_every_chart_has_a_text_alternative(page):
    titles = {attributes["id"] for tag, attributes in page.elements if tag in ("title", "desc") and attributes}
    charts = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(charts) == 15
    for chart in charts:
        assert chart["role"] == "img"
        assert set(chart["aria-labelledby"].split()) <= titles
    assert not re.search(r"<(title|desc)[^>]*>\s*</", page.html)


def test_ids_are_unique(page):
    ids = [value for name, value in page.attributes() if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_sections_answer_a_marketing_lead_first_and_an_analyst_last(page):
    headings = re.findall(r"<h2>(.*?)</h2>", page.html)
    assert headings == [
        "The segments",
        "Can I rely on them?",
        "What changed since the previous run",
        "What characterises each segment: all columns",
        "With fewer or more segments",
        "Technical details",
    ]
    ids = {attributes["id"] for tag, attributes in page.elements if tag == "section"}
    assert {value.removeprefix("#") for name, value in page.attributes() if name == "href"} >= ids


def test_technical_terms_are_explained_at_first_use(page):
    text = page.text[page.text.index("Technical details") + len("Technical details") :]
    for explanation in (
        "The standardised difference compares",
        "Drift of every feature, as population stability index (PSI): below 0.1 no drift",
        "Similarity with the most similar group (Jaccard, 1 = the same customers)",
        "The elbow is the number of segments beyond which",
        "Stability: does the segment reappear in other samples",
        "The silhouette compares",
        "sum of squared distances (SSE)",
    ):
        assert explanation in text


def test_the_page_names_no_customer(page):
    assert "C1" not in page.html
    assert SEGMENTS_COLUMNS[0] not in page.html


# --- the segments


def test_the_first_screen_has_the_segments_with_size_value_rule_and_typical_values(page):
    first_screen = page.text[: page.text.index("Least stable segment")]
    for words in (
        "23 November 2026, 09:00 UTC",
        "2 segments among 11 customers ✓ published",
        "1 low balance 7 customers 64% of customers 1.4% of BALANCE How to recognise a member BALANCE at most 1,900 "
        "Finds 90.0% of the segment; 96.0% of those found belong to it. Typical values (median) BALANCE 100 "
        "low BALANCE (index 40) Stability: very stable",
        "▲ 2 more than in the previous run (40%)",
        "4 high balance 3 customers 27% of customers 98.6% of BALANCE",
        "new segment",
        "1 customers have no segment: no value for BALANCE (1).",
    ):
        assert words in first_screen


def test_a_segment_without_a_rule_has_the_reason(data, text_of):
    rules = data.rules.model_copy(
        update={"segments": (rule(1, "x").model_copy(update={"rules": (), "reason": "It has 1 customer."}),)}
    )
    assert "No rule It has 1 customer." in text_of(data._replace(rules=rules))


def test_two_rules_of_a_segment_are_alternatives_and_the_others_are_counted(data, text_of):
    (one,) = rule(1, "BALANCE above 7").rules
    rules = data.rules.model_copy(update={"segments": (rule(1, "").model_copy(update={"rules": (one,) * 4}),)})
    assert "BALANCE above 7 or BALANCE above 7 2 more in rules.json." in text_of(data._replace(rules=rules))


def test_more_amounts_than_fit_on_a_card_are_a_table(data, text_of):
    (amount,) = data.segmentation.value
    others = tuple(amount.model_copy(update={"column": f"AMOUNT_{n}"}) for n in range(25))
    text = text_of(with_segmentation(data, value=(amount, *others)))
    assert "Customers 64% 27% BALANCE 1.4% 98.6%" in text
    assert "AMOUNT_18" in text
    assert "AMOUNT_19" not in text
    assert "6 more in segmentation.json." in text


# --- status


def test_an_experimental_run_names_the_checks_that_it_fails(data, text_of):
    experiment = with_segmentation(data, published=False, experimental=True, held_back=("segment 1 is empty",))
    text = text_of(experiment)
    assert "◇ experimental" in text
    assert "Experimental run (publish=never): nothing was published" in text
    assert "It would not have been published because: segment 1 is empty" in text
    assert "Not published because" not in text
    assert "2 customer segments, experimental" in text


def test_a_run_that_was_not_published_names_the_reason_and_which_segments_stay_active(data, text_of):
    text = text_of(with_segmentation(data, published=False, held_back=("the silhouette is 0.2, less than 0.25",)))
    assert "‖ not published" in text
    assert "Not published because: the silhouette is 0.2, less than 0.25 The previous segments stay active." in text
    assert "2 customer segments, not published" in text


def test_a_first_run_that_was_not_published_leaves_no_active_segments(data, text_of):
    segmentation = {"published": False, "held_back": ("the silhouette is low",), "comparison": None}
    text = text_of(with_segmentation(data, **segmentation))
    assert "There are no active segments yet." in text
    assert "stay active" not in text


def test_a_run_that_was_published_manually_names_the_failed_checks(data, text_of):
    text = text_of(with_segmentation(data, held_back=("segment 1 is empty",)))
    assert "✓ published manually despite failed checks" in text
    assert "Published manually despite these failed checks: segment 1 is empty" in text


# --- can I rely on them


@pytest.mark.parametrize(
    ("classification", "verdict"),
    [
        ("natural", "Yes: these groups are separate in the data; "),
        ("reproducible", "Yes, except near the borders: every sample of the customers gives the same segments"),
        ("constructive", "No: there are no gaps between these groups, and other samples"),
    ],
)
def test_the_verdict_follows_from_the_kind_of_segmentation(data, classification, verdict, text_of):
    text = text_of(with_chosen(data, classification=classification))
    assert f"Can I rely on them? {verdict}" in text


def test_warnings_are_listed_below_the_verdict(data):
    section = Page(render(with_segmentation(data, warnings=("BALANCE: strong drift",)))).section("Can I rely", "What changed")
    assert "Check before use BALANCE: strong drift" in section


def test_segments_too_small_to_assess_have_no_stability(data, text_of):
    segments = tuple(segment.model_copy(update={"jaccard": None, "jaccard_se": None}) for segment in data.segmentation.segments)
    small = with_chosen(with_segmentation(data, segments=segments), jaccard=(None, None), jaccard_se=(None, None))
    assert "Least stable segment – too small to assess" in text_of(small)


# --- what changed


def test_the_first_run_has_no_previous_run(data):
    page = Page(render(with_segmentation(data, comparison=None)._replace(migration=[], history=[])))
    assert "This is the first segmentation." in page.text
    assert "appear after the second published run" in page.text
    assert page.html.count("<svg") == 12


def test_an_earlier_run_without_common_customers_is_compared_too(data, text_of):
    comparison = data.segmentation.comparison.model_copy(update={"common_customers": 0, "same_segment": 0, "ari": 0.0})
    text = text_of(with_segmentation(data, comparison=comparison))
    assert "No customer was segmented both times" in text
    assert "0 of 0" not in text


def test_customers_who_stayed_are_a_share_of_those_segmented_both_times(page):
    assert "67% of the 9 customers segmented both times are still in their segment." in page.text


def test_customers_without_ids_are_compared_by_their_features_alone(data, text_of):
    text = text_of(data._replace(migration=[]))
    assert "Migration: customers" not in text
    assert "BALANCE 0.30 strong drift" in text


def test_the_migration_is_a_table_of_previous_and_current_segments(page):
    assert "from 1 4 1 low balance 5 · 2 old money · 3 – no segment 2 ·" in page.text
    assert "Segments that no longer exist: 2 old money." in page.text


def with_psi(data, psi):
    return with_segmentation(data, comparison=data.segmentation.comparison.model_copy(update={"psi": psi}))


def test_features_that_the_previous_run_did_not_have_are_named(data, text_of):
    text = text_of(with_psi(data, {}))
    assert "Have the customers changed?" not in text
    assert "Run last week did not have BALANCE: the drift of it is unknown." in text


def test_sizes_and_stability_are_charted_over_the_published_runs(data):
    html = render(data)
    (sizes,) = re.findall(r'<desc id="sizes-desc">(.*?)</desc>', html)
    assert sizes == "3 runs, from 9 Nov to 23 Nov: segment 1: 60% to 70%; segment 4: unknown."
    assert '<desc id="stabilities-desc">3 runs, from 9 Nov to 23 Nov: segment 1: 0.80 to 0.80' in html


def test_earlier_runs_that_were_not_published_are_not_charted(data):
    history = [run if run.run == "demo" else run.model_copy(update={"status": "experimental"}) for run in data.history]
    assert 'id="sizes-desc"' not in render(data._replace(history=history))


# --- all columns


def test_columns_are_described_in_the_order_of_their_largest_difference(page):
    section = page.section("Every column", "With fewer or more segments")
    assert "BALANCE 100 80.0 – 150 −1.7 100 80.0 – 150 +1.7 REGION: north 83% +0.9 83% −0.9 TENURE" in section.replace(
        "10080.0", "100 80.0"
    ).replace("150−", "150 −").replace("150+", "150 +").replace("%+", "% +").replace("%−", "% −")
    assert "Quartiles and texts of all 10 customers. Not described: COMMENT (4,321 different texts)." in section


def test_clustering_features_are_marked(page):
    assert page.html.count('<th scope="row" class="feature">BALANCE</th>') == 3  # two charts and the table
    assert '<th scope="row">TENURE</th>' in page.html


def test_the_strongest_differences_of_a_segment_are_bars_to_either_side(page):
    bars = re.findall(r'<span class="(low|high)" style="--length:([\d.]+)"></span></td><td class="count">(\S+)</td>', page.html)
    assert bars[:3] == [("low", "0.85", "−1.7"), ("high", "0.45", "+0.9"), ("high", "0.20", "+0.4")]


def test_a_column_without_values_and_a_constant_one_are_described(data, text_of):
    rows = [
        numeric_row(1, "EMPTY", median=None, difference=None, rank=2, missing_share=1.0),
        numeric_row(1, "CONSTANT", median=3.0, difference=0.0, rank=1),
    ]
    text = text_of(data._replace(description=rows))
    assert "No column differs." in text
    assert re.search(r"EMPTY – ?– ?100% missing –", text)
    assert re.search(r"CONSTANT 3\.0 ?80\.0 – 150 ?0\.0 –", text)


def test_older_runs_without_description_rules_and_history_name_the_stages_to_run(data, text_of):
    added = {"value", "across_k", "description", "not_amounts"}
    new = {"jaccard_se", "ari_se", "n_resamples", "failed_checks", "structure", "classification"}
    evaluation = data.evaluation.model_dump(mode="json")
    evaluation |= {"resamples": 20, "candidates": [without(one, new) for one in evaluation["candidates"]]}
    segmentation = without(data.segmentation.model_dump(mode="json"), added | {"experimental"})
    segmentation["segments"] = [without(segment, {"jaccard_se"}) for segment in segmentation["segments"]]
    older = data._replace(
        evaluation=Evaluation.model_validate(evaluation),
        segmentation=Segmentation.model_validate(segmentation),
        description=[],
        rules=None,
        history=[],
    )
    text = text_of(older)
    assert "This run has no description: run the stages segment and report again." in text
    assert "whether there are gaps between them was not tested" in text
    assert "over 20 bootstrap samples" in text
    assert "4 0.90 very stable" in text or "1 0.90 very stable" in text


def without(values, names):
    return {name: value for name, value in values.items() if name not in names}


# --- stability across k


def test_every_segment_is_looked_up_in_the_other_solutions(page):
    section = page.section("With fewer or more segments", "For analysts")
    assert re.search(r"3 segments 1 low balance 0\.57 ?partly 4 high balance 1\.00 ?yes", section)
    (description,) = re.findall(r'<desc id="across-k-desc">(.*?)</desc>', page.html)
    assert description.endswith("with 3 segments: segment 1 0.57, segment 4 1.00.")


# --- technical details


def test_the_reason_for_k_is_given_beside_the_elbow(page):
    section = page.section("The number of segments", "Spread within")
    assert section.startswith("The number of segments Why 2? k = 2 was asked for. The elbow is")
    assert "Here it is at 3." in section


def test_a_curve_without_an_elbow_is_reported(data, text_of):
    evaluation = data.evaluation.model_copy(update={"elbow": None, "rule": "fallback", "reason": "No elbow."})
    assert "This curve has no elbow." in text_of(data._replace(evaluation=evaluation))


def test_the_chosen_k_is_compared_with_data_without_groups(page):
    (description,) = re.findall(r'<desc id="structure-desc">(.*?)</desc>', page.html)
    assert description.startswith("Deepest gap between two of 2 segments: 0.61 for these customers; 0.57 on average")
    assert "4 simulated tables without groups, which range from 0.55 to 0.60" in description
    assert "in brackets without groups: BALANCE 0.02 (0.01)." in page.text
    assert "with 4 simulated tables of all 10 customers: p = 0.20, and the gap is 1.1 times as deep" in page.text


def test_the_table_of_k_has_the_failed_checks_of_each(page):
    table = page.section("Checks of every number of segments", "Not tested:")
    for row in (
        "2 chosen ✓ yes 0.61 0.72 ± 0.01 (100) 15% reproducible –",
        "3 elbow not tested 0.52 0.72 ± 0.01 (20) 10.0% – –",
        "4 ✗ no 0.13 0.72 ± 0.01 (20) 7.5% – the silhouette is 0.130, less than 0.25",
    ):
        assert row in table


def test_other_measures_name_their_best_k(page):
    assert "Silhouette 0.61 at k = 2 best (highest) at 2" in page.text
    assert "Davies–Bouldin 0.90 at k = 2 best (lowest) at 2" in page.text


def test_dips_are_named_by_the_features_in_the_order_of_the_setting(data, text_of):
    extract = data.manifests["extract"].model_copy(update={"settings": {"feature_columns": ["PAYMENTS", "BALANCE"]}})
    profile = [profile_row(n, name) for n in (1, 4) for name in ("BALANCE", "PAYMENTS")]
    text = text_of(data._replace(profile=profile, manifests={**data.manifests, "extract": extract}))
    assert "in brackets without groups: PAYMENTS 0.02 (0.01)" in text


def test_the_rules_have_precision_and_recall(page):
    assert "a decision tree with 2 leaves on the clustering features, fitted to 6 customers and tested on 4 others" in page.text
    assert "1 low balance 0.96 0.90 1 4 high balance 0.96 0.90 1" in page.text


def with_new_customers(data, *customers):
    return data._replace(evaluation=data.evaluation.model_copy(update={"new_customers": customers}))


def test_new_customers_without_a_label_are_counted(data, text_of):
    unread = LabelledCustomer(customer=None, label=None, reason="row 3 begins with 'C3'", outside_training_range=())
    text = text_of(with_new_customers(data, data.evaluation.new_customers[0], unread))
    assert "labelled 1 of 2 new customers; none of them are outside the training range. evaluation.json contains" in text
    assert "C3" not in text


def test_a_run_without_new_customers_is_reported(data, text_of):
    text = text_of(with_new_customers(data))
    assert "No new customers were labelled: there is no usable file of new customers" in text


def test_a_sample_is_called_one(page):
    assert (
        "Silhouette of all 10 customers. Stability and agreement (adjusted Rand index, ARI) over 100 bootstrap samples "
        "for the chosen k of a random sample with a fixed seed, 8 of 10 customers"
    ) in page.text
    assert "A random sample with a fixed seed, 3 of 10 customers, sorted within the segments" in page.text


def test_customers_without_a_known_group_are_counted(data, text_of):
    text = text_of(with_segmentation(data, ungrouped={"no REGION": 2}))
    assert "for lack of a known group: 2 with no REGION." in text


def test_the_rows_are_accounted_for(page):
    for words in (
        "Rows read 13",
        "Duplicates dropped 2",
        "Customers 11",
        "Without a segment 1",
        "In a segment 10",
        "BALANCE (a feature) 1 9.1%",
        "labelled 2 of 2 new customers; 1 of them is outside the training range.",
    ):
        assert words in page.text


def test_settings_have_their_source_and_files_their_digest(page):
    assert "Feature columns BALANCE form" in page.text
    assert "Customer table data/file.csv default" in page.text
    assert "data/file.csv sha256 abababababababab… 1,234,567 bytes" in page.text
    assert "customers.pkl" not in page.text


def test_a_user_file_in_a_folder_named_like_a_stage_is_among_the_files_read(data, text_of):
    file = FileRecord(name="train/file.csv", sha256="ef" * 32, bytes=7)
    extract = data.manifests["extract"].model_copy(update={"inputs": (file,)})
    text = text_of(data._replace(manifests={**data.manifests, "extract": extract}))
    assert "train/file.csv sha256 efefefefefefefef… 7 bytes" in text


def test_versions_name_the_stages_that_used_them(data, text_of):
    train = data.manifests["train"].model_copy(update={"versions": {"python": "3.14.0"}})
    text = text_of(data._replace(manifests={**data.manifests, "train": train}))
    assert "python 3.13.5 extract, segment python 3.14.0 train" in text


# --- bad input


def test_text_from_files_is_never_markup(data, page):
    segmentation, evaluation = data.segmentation, data.evaluation
    extract = data.manifests["extract"]
    dirty = Page(
        render(
            data._replace(
                evaluation=evaluation.model_copy(
                    update={
                        "reason": INJECTION,
                        "new_customers": (evaluation.new_customers[0].model_copy(update={"customer": INJECTION}),),
                    }
                ),
                segmentation=segmentation.model_copy(
                    update={
                        "run": INJECTION,
                        "unassigned": {INJECTION: 1},
                        "segments": tuple(
                            segment.model_copy(update={"name": INJECTION, "distinguishing_features": (INJECTION,)})
                            for segment in segmentation.segments
                        ),
                        "comparison": segmentation.comparison.model_copy(
                            update={"run": INJECTION, "psi": {INJECTION: 0.1}, "vanished": {2: INJECTION}}
                        ),
                        "description": segmentation.description.model_copy(update={"left_out": {INJECTION: INJECTION}}),
                        "value": tuple(one.model_copy(update={"column": INJECTION}) for one in segmentation.value),
                    }
                ),
                profile=[profile_row(n, INJECTION) for n in (1, 4)],
                migration=[
                    MigrationRow(2, INJECTION, 4, INJECTION, 3),
                    MigrationRow(1, INJECTION, 1, INJECTION, 5),
                    MigrationRow(None, None, 1, "", 2),
                ],
                description=[replace(row, column=INJECTION, level=row.level and INJECTION) for row in data.description],
                rules=data.rules.model_copy(update={"segments": (rule(1, INJECTION), rule(4, INJECTION))}),
                manifests={
                    **data.manifests,
                    "extract": extract.model_copy(
                        update={
                            "inputs": (extract.inputs[0].model_copy(update={"name": INJECTION}),),
                            "settings": {"feature_columns": [INJECTION], INJECTION: INJECTION},
                            "setting_sources": {"feature_columns": INJECTION},
                            "image": INJECTION,
                            "versions": {"python": "3.13.5", INJECTION: INJECTION},
                            "result": {**extract.result, "missing": {INJECTION: 1}},
                        }
                    ),
                },
            )
        )
    )
    assert dirty.tags() == page.tags()
    assert {name for name, _ in dirty.attributes()} == {name for name, _ in page.attributes()}
    assert dirty.html.count("&lt;script&gt;alert(") > 30


def large_run(data, n_segments, n_columns):
    """A run with so many segments and columns, half of these numeric and the other half levels of one text column."""
    ids = range(1, n_segments + 1)
    segment, candidate = data.segmentation.segments[0], data.evaluation.candidates[0]
    rows = [
        row
        for n in ids
        for place in range(0, n_columns, 2)
        for row in (
            numeric_row(n, f"COLUMN_{place}", difference=(n + place) / 99, rank=place + 1, median=1234.5),
            text_row(n, "CITY", f"city {place}", difference=0.1, rank=place + 2),
        )
    ]
    candidates = tuple(candidate.model_copy(update={"k": k, "jaccard": (0.9,) * k}) for k in range(2, n_segments + 1))
    amount = data.segmentation.value[0]
    return data._replace(
        evaluation=data.evaluation.model_copy(update={"chosen_k": n_segments, "candidates": candidates}),
        segmentation=data.segmentation.model_copy(
            update={
                "k": n_segments,
                "segments": tuple(segment.model_copy(update={"segment_id": n, "customers": n}) for n in ids),
                "across_k": (data.segmentation.across_k[0].model_copy(update={"flows": tuple(flow(n, n, n) for n in ids)}),),
                "value": tuple(amount.model_copy(update={"column": f"COLUMN_{place}"}) for place in range(n_columns)),
            }
        ),
        rules=data.rules.model_copy(update={"segments": tuple(rule(n, "COLUMN_0 above 1,900") for n in ids)}),
        profile=[profile_row(n, f"COLUMN_{place}", 1234.5) for n in ids for place in range(n_columns)],
        migration=[MigrationRow(a, "low balance", b, "low balance", a * b) for a in ids for b in ids],
        points=[SamplePoint(n * 0.777, n * 0.333, n % n_segments + 1, 1 / (n + 1)) for n in range(2000)],
        description=rows,
    )


def test_a_run_with_ten_segments_and_seventeen_columns_stays_below_a_megabyte(data):
    html = render(large_run(data, 10, 17))
    assert len(html.encode()) < 600_000
    assert "<details>" not in html
    assert "more in" not in html.replace("more in profile.csv", "")


def test_a_hundred_segments_and_two_hundred_columns_are_limited_with_a_pointer_to_the_files(data):
    page = Page(render(large_run(data, 100, 200)))
    assert len(page.html.encode()) < 1_000_000
    assert page.html.count('<li class="card"') == 12
    assert "88 smaller segments Segment Customers" in page.text
    for pointer in (
        "The 12 largest segments; 88 more in description.csv.",
        "Those with the largest differences, and 160 more in description.csv.",
        "180 more in segmentation.json.",
        "195 more in profile.csv",
        "88 more in rules.json.",
        "The largest segments; 87 more in migration.csv.",
    ):
        assert pointer in page.text


# --- colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page, scheme):
    colours = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", page.html, re.S)
    ]
    colours = {**colours[0], **(colours[1] if scheme == "dark" else {})}
    for text in ("ink", "muted", "accent", "good", "warn"):
        for paper in ("page", "card", *(["warn-page"] if text in ("ink", "warn") else [])):
            assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
    assert contrast("#14181d", colours["unassigned"]) >= 4.5


def test_numbers_have_contrast_on_the_colour_of_their_segment(page):
    pairs = re.findall(r'class="badge" style="--colour:(#\w{6});--on-colour:(#\w{6})', page.html)
    assert len(pairs) > 2
    assert min(contrast(*pair) for pair in pairs) >= 4.5


def contrast(one, other):
    """Return the contrast ratio of WCAG 2."""
    darker, lighter = sorted(luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
