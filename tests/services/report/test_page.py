import re
from html.parser import HTMLParser

import pytest

from services.contract.results import SEGMENTS_COLUMNS, Evaluation, LabelledCustomer, Segmentation
from services.report.page import render
from services.report.report_data import Move, Point, Trait
from stagekit.volume.manifest import FileRecord

INJECTION = "\"><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
INLINE = {"span", "strong", "wbr"}
VOID = {"meta", "br", "wbr", "input", "img", "link", "hr", "base"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.elements = []
        self.open = []
        self.text = ""
        self.feed(html)
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
            self.text = re.sub(r"\s+", " ", self.text + data)

    def tags(self):
        return {tag for tag, _ in self.elements}

    def attributes(self):
        return [item for _, attributes in self.elements for item in attributes.items()]


@pytest.fixture(scope="module")
def page(findings):
    return Page(render(findings))


def changed(findings, **segmentation):
    return findings._replace(segmentation=findings.segmentation.model_copy(update=segmentation))


def test_the_page_needs_nothing_from_outside(page):
    assert not page.tags() & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "foreignobject"}
    assert all(value.startswith("#") for name, value in page.attributes() if name.endswith("href"))
    assert not [
        name for name, _ in page.attributes() if name in ("src", "srcset", "action", "xlink:href") or name.startswith("on")
    ]
    assert not re.search(r"//|@import|url\((?!#)", page.html.replace("<!doctype html>", ""))


def test_a_browser_is_told_to_fetch_and_run_nothing(page):
    assert (
        "content",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ) in page.attributes()


def test_every_picture_can_be_heard(page):
    titles = {attributes["id"] for tag, attributes in page.elements if tag in ("title", "desc") and attributes}
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) == 12
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(picture["aria-labelledby"].split()) <= titles
    assert not re.search(r"<(title|desc)[^>]*>\s*</", page.html)


def test_no_two_elements_share_an_id(page):
    ids = [value for name, value in page.attributes() if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_first_screen_says_how_many_segments_why_and_whether_they_are_in_force(page):
    first_screen = page.text[: page.text.index("Why 2 segments")]
    for words in (
        "23 November 2026, 09:00 UTC",
        "2 segments among 11 customers",
        "✓ published",
        "Why 2? k = 2 was asked for.",
        "1 low balance 7 64% low BALANCE (index 40)",
        "▲ 2 more than last time (40%)",
        "4 high balance 3 27%",
        "new segment",
    ):
        assert words in first_screen


def test_the_hard_words_are_explained_where_they_come(page):
    for words in ("The elbow is the number of segments", "Stability asks whether", "The silhouette compares"):
        assert words in page.text


def test_an_elbow_that_was_not_taken_is_named(page):
    assert "Here it bends at 3; 2 was taken all the same" in page.text


def test_a_curve_without_an_elbow_is_named(findings):
    evaluation = findings.evaluation.model_copy(
        update={"elbow": None, "rule": "fallback", "reason": "No elbow; best silhouette."}
    )
    text = Page(render(findings._replace(evaluation=evaluation))).text
    assert "Why 2? No elbow; best silhouette." in text
    assert "Here the curve has no such bend." in text


@pytest.mark.parametrize(
    ("classification", "sentence"),
    [
        ("natural", "These groups are separate in the data: "),
        ("reproducible", "There are no gaps between these groups: customers near a border resemble those beyond it"),
        ("constructive", "There are no gaps between these groups, and other samples of the customers give other borders: "),
    ],
)
def test_the_first_screen_says_what_the_kind_of_segmentation_means_for_its_readers(findings, classification, sentence):
    text = Page(render(of_candidates(findings, classification=classification))).text
    assert f"Are they separate groups? {sentence}" in text[: text.index("In a segment")]


def test_the_chosen_k_is_drawn_beside_its_null(page):
    (desc,) = re.findall(r'<desc id="structure-desc">(.*?)</desc>', page.html)
    assert desc.startswith("Deepest gap between two of 2 segments: 0.61 for these customers; 0.57 on average")
    assert "4 simulated tables without groups, which range from 0.55 to 0.60" in desc
    assert "A gap within a single feature counts, too; its dip, and that without groups: BALANCE 0.02 (0.01)." in page.text
    assert " with 4 simulated tables of all 10 customers: p = 0.20, and the gap is 1.1 times as deep" in page.text


def test_the_table_of_k_says_for_each_whether_it_passes_and_which_checks_fail(page):
    table = page.text[page.text.index("Which numbers of segments pass") : page.text.index("Not tested:")]
    for row in (
        "2 chosen ✓ yes 0.61 0.72 ± 0.01 (100) 15% reproducible –",
        "3 elbow not tested 0.52 0.72 ± 0.01 (20) 10.0% – –",
        "4 ✗ no 0.13 0.72 ± 0.01 (20) 7.5% – the silhouette is 0.130, less than 0.25",
    ):
        assert row in table


def test_an_experimental_run_is_marked_as_one_and_names_the_checks_that_it_fails(findings):
    experiment = changed(findings, published=False, experimental=True, held_back=("segment 1 is empty",))
    text = Page(render(experiment)).text
    assert "◇ experimental" in text
    assert "Experimental run (publish=never): nothing was published" in text
    assert "It would not have been published, because segment 1 is empty" in text
    assert "Held back" not in text
    assert "2 customer segments, experimental" in text


def test_a_segment_too_small_to_assess_is_said_to_be_that(findings):
    segments = tuple(one.model_copy(update={"jaccard": None, "jaccard_se": None}) for one in findings.segmentation.segments)
    text = Page(render(of_candidates(changed(findings, segments=segments), jaccard=(None, None), jaccard_se=(None, None)))).text
    assert "Least stable segment – too small to assess" in text


def test_the_report_of_a_run_from_before_the_structure_test_can_be_made(findings):
    new = {"jaccard_se", "ari_se", "n_resamples", "failed_checks", "structure", "classification"}
    evaluation = findings.evaluation.model_dump(mode="json")
    evaluation |= {"resamples": 20, "candidates": [without(one, new) for one in evaluation["candidates"]]}
    segmentation = without(findings.segmentation.model_dump(mode="json"), {"experimental"})
    segmentation["segments"] = [without(segment, {"jaccard_se"}) for segment in segmentation["segments"]]
    older = findings._replace(
        evaluation=Evaluation.model_validate(evaluation), segmentation=Segmentation.model_validate(segmentation)
    )
    page = Page(render(older))
    assert "separate groups?" not in page.text
    assert "over 20 bootstrap samples" in page.text
    assert "Least stable segment 0.90 very stable" in page.text


def without(values, names):
    return {name: value for name, value in values.items() if name not in names}


def of_candidates(findings, **first):
    """Change the chosen candidate."""
    chosen, *others = findings.evaluation.candidates
    candidates = (chosen.model_copy(update=first), *others)
    return findings._replace(evaluation=findings.evaluation.model_copy(update={"candidates": candidates}))


def test_other_measures_name_their_best_k(page):
    assert "Silhouette 0.61 at k = 2 best (highest) at 2" in page.text
    assert "Davies–Bouldin 0.90 at k = 2 best (lowest) at 2" in page.text


def test_a_run_that_was_held_back_says_why_and_what_stays_in_force(findings):
    page = Page(render(changed(findings, published=False, held_back=("the silhouette is 0.2, less than 0.25",))))
    assert "‖ held back" in page.text
    assert (
        "Held back, because the silhouette is 0.2, less than 0.25 The segments of this run were not published; the active"
        in page.text
    )
    assert "2 customer segments, held back" in page.text


def test_a_run_published_all_the_same_says_so(findings):
    page = Page(render(changed(findings, held_back=("segment 1 is empty",))))
    assert "✓ published on request" in page.text
    assert "Published on request, although segment 1 is empty" in page.text


def test_warnings_are_shown(findings):
    assert "Worth a look BALANCE has shifted" in Page(render(changed(findings, warnings=("BALANCE has shifted",)))).text


def test_many_warnings_do_not_push_the_rest_off_the_first_screen(findings):
    page = Page(render(changed(findings, warnings=tuple(f"segment {n} is new" for n in range(5)))))
    first_screen, _, rest = page.text.partition("Why 2 segments")
    assert "Worth a look: 5 changes since last time" in first_screen
    assert "segment 4 is new" in rest
    assert {"id": "since"} in [attributes for tag, attributes in page.elements if tag == "section"]


def test_the_first_run_has_nothing_to_compare_with(findings):
    page = Page(render(changed(findings, comparison=None)._replace(moves=[])))
    assert "There is no earlier segmentation to compare with." in page.text
    assert "last time" not in page.text[: page.text.index("Index 100")].replace("In the segment of last time", "")
    assert "Who moved where" not in page.text
    assert page.html.count("<svg") == 11


def test_an_earlier_run_without_common_customers_is_compared_too(findings):
    comparison = findings.segmentation.comparison.model_copy(update={"common_customers": 0, "same_segment": 0, "ari": 0.0})
    text = Page(render(changed(findings, comparison=comparison))).text
    assert "no customer has one both times" in text
    assert "nobody can be followed" in text
    assert "0 of 0" not in text


def test_customers_without_ids_are_compared_by_their_features_alone(findings):
    page = Page(render(findings._replace(moves=[])))
    assert "Who moved where" not in page.text
    assert "BALANCE 0.30 a marked shift" in page.text


def test_features_stand_in_the_order_in_which_they_were_asked_for(findings):
    extract = findings.manifests["extract"].model_copy(update={"settings": {"feature_columns": ["PAYMENTS", "BALANCE"]}})
    profile = [Trait(n, name, 1.0, 1.0, 100.0, 1) for n in (1, 4) for name in ("BALANCE", "PAYMENTS")]
    text = Page(render(findings._replace(profile=profile, manifests={**findings.manifests, "extract": extract}))).text
    profiles = text[text.index("What sets them apart") : text.index("Map of the customers")]
    assert profiles.index("PAYMENTS") < profiles.index("BALANCE")


def test_who_moved_where_is_a_table_of_all_moves(page):
    assert "from 1 4 1 low balance 5 · 2 old money · 3 – no segment 2 ·" in page.text
    assert "Gone: 2 old money." in page.text
    assert "BALANCE 0.30 a marked shift" in page.text


def test_the_profile_has_index_and_median_in_the_units_of_the_table(page):
    assert "BALANCE 40 100 312 12,345" in page.text


def test_what_is_below_the_average_is_not_shown_as_above_it(findings):
    profile = [Trait(1, "BALANCE", 0.0, 0.0, 0.0, 1), Trait(4, "BALANCE", 2.0, 3.0, 100.0, 1)]
    html = render(findings._replace(profile=profile))
    assert '<td class="low" style="--heat:1.00"><strong>0</strong>' in html
    assert '<td class="high" style="--heat:0.00"><strong>100</strong>' in html


def test_a_first_run_that_is_held_back_mentions_no_active_segments(findings):
    text = Page(render(changed(findings, published=False, held_back=("the silhouette is low",), comparison=None))).text
    assert "The segments of this run were not published." in text
    assert "stay active" not in text


def with_psi(findings, psi):
    return changed(findings, comparison=findings.segmentation.comparison.model_copy(update={"psi": psi}))


def test_without_a_feature_that_both_runs_have_there_is_no_table_of_shifts(findings):
    text = Page(render(with_psi(findings, {}))).text
    assert "Have the customers changed?" not in text
    assert "Run last week did not have BALANCE: whether the customers have changed in it cannot be said." in text


def test_features_that_the_run_before_did_not_have_are_named_below_the_table_of_shifts(findings):
    segments = [one.model_copy(update={"centroid": {"BALANCE": 1.0, "=AGE": 40.0}}) for one in findings.segmentation.segments]
    text = Page(render(changed(with_psi(findings, {"BALANCE": 0.3}), segments=tuple(segments)))).text
    assert "Have the customers changed?" in text
    assert "Run last week did not have =AGE: whether" in text
    assert "did not have" not in Page(render(findings)).text


def new_customers(findings, *customers):
    return findings._replace(evaluation=findings.evaluation.model_copy(update={"new_customers": customers}))


def test_new_customers_without_a_label_are_counted(findings):
    unread = LabelledCustomer(customer=None, label=None, reason="row 3 begins with 'C3'", outside_training_range=())
    text = Page(render(new_customers(findings, findings.evaluation.new_customers[0], unread))).text
    assert (
        "labelled 1 of 2 new customers; none of them are outside the training range. evaluation.json names the reason" in text
    )
    assert "C3" not in text


def test_a_run_without_new_customers_says_so(findings):
    text = Page(render(new_customers(findings))).text
    assert "No new customers were labelled: there is no file of new customers that the run could use" in text


def test_a_sample_is_said_to_be_one(page):
    assert (
        "Silhouette of all 10 customers. "
        "Stability and agreement over 100 bootstrap samples for the chosen k of 8 of 10 customers"
    ) in page.text
    assert "3 of 10 customers, drawn at random and always the same, sorted within their segments" in page.text


def test_an_index_that_there_is_none_of_is_a_dash(findings):
    profile = [Trait(1, "BALANCE", None, None, None, 1), Trait(4, "BALANCE", 2.0, 3.0, None, 1)]
    assert "BALANCE – – – 2.0" in Page(render(findings._replace(profile=profile))).text


def test_without_an_index_the_colour_follows_the_effect(findings):
    profile = [Trait(1, "YEAR", 1950.0, 1950.0, None, 1, -1.0), Trait(4, "YEAR", 2000.0, 2000.0, None, 1, 3.0)]
    html = render(findings._replace(profile=profile))
    assert '<td class="low" style="--heat:0.50"><strong>–</strong>' in html
    assert '<td class="high" style="--heat:1.00"><strong>–</strong>' in html


def test_customers_without_a_known_group_are_counted(findings):
    segmentation = findings.segmentation.model_copy(update={"ungrouped": {"no REGION": 2}})
    assert "for lack of a known group: 2 with no REGION." in Page(render(findings._replace(segmentation=segmentation))).text


def test_the_rows_are_accounted_for(page):
    for words in (
        "Rows read 13",
        "Duplicates dropped 2",
        "Customers 11",
        "Without a segment 1",
        "In a segment 10",
        "no value for BALANCE 1",
        "BALANCE (a feature) 1 9.1%",
        "labelled 2 of 2 new customers; 1 of them is outside the training range.",
    ):
        assert words in page.text


def test_settings_tell_where_they_came_from_and_files_their_digest(page):
    assert "Feature columns BALANCE form" in page.text
    assert "Customer table data/file.csv default" in page.text
    assert "data/file.csv sha256 abababababababab… 1,234,567 bytes" in page.text
    assert "customers.pkl" not in page.text


def test_a_user_file_in_a_folder_named_like_a_stage_is_among_the_files_read(findings):
    file = FileRecord(name="train/file.csv", sha256="ef" * 32, bytes=7)
    extract = findings.manifests["extract"].model_copy(update={"inputs": (file,)})
    text = Page(render(findings._replace(manifests={**findings.manifests, "extract": extract}))).text
    assert "train/file.csv sha256 efefefefefefefef… 7 bytes" in text


def test_versions_name_the_stages_that_had_them(findings):
    train = findings.manifests["train"].model_copy(update={"versions": {"python": "3.14.0"}})
    text = Page(render(findings._replace(manifests={**findings.manifests, "train": train}))).text
    assert "python 3.13.5 extract, segment python 3.14.0 train" in text


def test_the_page_names_no_customer(page):
    assert "C1" not in page.html
    assert SEGMENTS_COLUMNS[0] not in page.html


def test_nothing_that_others_wrote_is_markup(findings):
    clean = Page(render(findings))
    segmentation, evaluation = findings.segmentation, findings.evaluation
    extract = findings.manifests["extract"]
    dirty = Page(
        render(
            findings._replace(
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
                            segment.model_copy(update={"name": INJECTION, "sets_apart": (INJECTION,)})
                            for segment in segmentation.segments
                        ),
                        "comparison": segmentation.comparison.model_copy(
                            update={"run": INJECTION, "psi": {INJECTION: 0.1}, "vanished": {2: INJECTION}}
                        ),
                    }
                ),
                profile=[
                    Trait(1, INJECTION, 1.0, 1.0, 50.0, 1),
                    Trait(4, INJECTION, 1.0, 1.0, 50.0, 1),
                ],
                moves=[Move(2, INJECTION, 4, INJECTION, 3), Move(1, INJECTION, 1, INJECTION, 5), Move(None, "", 1, "", 2)],
                manifests={
                    **findings.manifests,
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
    assert dirty.tags() == clean.tags()
    assert {name for name, _ in dirty.attributes()} == {name for name, _ in clean.attributes()}
    assert dirty.html.count("&lt;script&gt;alert(") > 20


def test_the_same_findings_give_the_same_page(findings):
    assert render(findings) == render(findings)


def test_a_large_run_stays_below_a_megabyte(findings):
    ids = range(1, 101)
    segment, candidate = findings.segmentation.segments[0], findings.evaluation.candidates[0]
    page = render(
        findings._replace(
            evaluation=findings.evaluation.model_copy(
                update={
                    "chosen_k": 100,
                    "candidates": tuple(candidate.model_copy(update={"k": k, "jaccard": (0.9,) * k}) for k in range(2, 101)),
                }
            ),
            segmentation=findings.segmentation.model_copy(
                update={"k": 100, "segments": tuple(segment.model_copy(update={"segment_id": n}) for n in ids)}
            ),
            profile=[Trait(n, f"FEATURE_{place}", 1234.5, 1234.5, 98.7, 1) for n in ids for place in range(17)],
            moves=[Move(a, "low balance", b, "low balance", a * b) for a in ids for b in ids],
            points=[Point(n * 0.777, n * 0.333, n % 100 + 1, 1 / (n + 1)) for n in range(2000)],
        )
    )
    assert len(page.encode()) < 1_000_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page, scheme):
    colours = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", page.html, re.S)
    ]
    colours = {**colours[0], **(colours[1] if scheme == "dark" else {})}
    for text in ("ink", "muted", "accent", "good", "warn"):
        for paper in ("page", "card", *(["warn-page"] if text in ("ink", "warn") else [])):
            assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
    assert contrast("#14181d", colours["nobody"]) >= 4.5


def test_numbers_have_contrast_on_the_colour_of_their_segment(page):
    pairs = re.findall(r'class="badge" style="--colour:(#\w{6});--on-colour:(#\w{6})', page.html)
    assert len(pairs) > 2
    assert min(contrast(*pair) for pair in pairs) >= 4.5


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    darker, lighter = sorted(luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
