from airflow.sdk.execution_time.context import OutletEventAccessors

from dags.assets import ACTIVE_SEGMENTS, PUBLISHED_ALIAS, emit_asset_event, summarise_result

RESULT = {
    "run": "demo",
    "k": 3,
    "customers": 1300,
    "published": True,
    "experimental": False,
    "held_back": [],
    "segments": [{"id": 1, "name": "savers", "customers": 1000}, {"id": 2, "name": "buyers", "customers": 200}],
}


def events(result):
    context = {"outlet_events": OutletEventAccessors()}
    emit_asset_event(context, result)
    return context["outlet_events"][PUBLISHED_ALIAS].asset_alias_events


def test_a_publication_updates_the_asset_with_the_id_of_the_run():
    [event] = events(RESULT)
    assert event.dest_asset_key.name == ACTIVE_SEGMENTS.name
    assert event.extra == {"run": "demo", "k": 3, "customers": 1300}


def test_a_run_that_is_not_published_updates_no_asset():
    assert events({**RESULT, "published": False, "held_back": ["too weak"]}) == []


def test_the_summary_contains_k_the_sizes_and_whether_the_run_was_published():
    assert summarise_result({**RESULT, "k": 2}) == "2 segments, 1,300 customers, published: 1,000 savers; 200 buyers"
    held_back = {**RESULT, "k": 2, "published": False, "held_back": ["too weak", "too few"]}
    assert summarise_result(held_back).startswith("2 segments, 1,300 customers, not published (too weak; too few): ")
    assert "published although checks failed (too weak)" in summarise_result({**RESULT, "held_back": ["too weak"]})


def test_the_summary_of_an_experimental_run_names_the_failed_checks_and_no_asset_is_updated():
    experiment = {**RESULT, "published": False, "experimental": True}
    assert "customers, experimental, not published: " in summarise_result(experiment)
    assert "customers, experimental, not published (too weak): " in summarise_result({**experiment, "held_back": ["too weak"]})
    assert events(experiment) == []


def test_a_result_of_an_older_version_without_the_key_experimental_can_be_summarised():
    older = {name: value for name, value in RESULT.items() if name != "experimental"} | {"published": False}
    assert "customers, not published: " in summarise_result(older)


def test_the_summary_counts_the_segments_that_it_leaves_out():
    assert summarise_result(RESULT).endswith("200 buyers; 1 more")
