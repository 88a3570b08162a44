from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors

from dags.assets import PUBLISHED, SEGMENTS_IN_FORCE, announce, is_for_past_date, summarise_result

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
    announce(context, result)
    return context["outlet_events"][PUBLISHED].asset_alias_events


def test_a_publication_updates_the_asset_and_says_of_which_run():
    [event] = events(RESULT)
    assert event.dest_asset_key.name == SEGMENTS_IN_FORCE.name
    assert event.extra == {"run": "demo", "k": 3, "customers": 1300}


def test_a_run_that_was_held_back_updates_nothing():
    assert events({**RESULT, "published": False, "held_back": ["too weak"]}) == []


def test_the_summary_says_k_the_sizes_and_whether_it_was_published():
    assert summarise_result({**RESULT, "k": 2}) == "2 segments, 1,300 customers, published: 1,000 savers; 200 buyers"
    held_back = {**RESULT, "k": 2, "published": False, "held_back": ["too weak", "too few"]}
    assert summarise_result(held_back).startswith("2 segments, 1,300 customers, not published (too weak; too few): ")
    assert "published although checks failed (too weak)" in summarise_result({**RESULT, "held_back": ["too weak"]})


def test_an_experimental_run_is_called_that_with_the_checks_that_it_fails_and_updates_nothing():
    experiment = {**RESULT, "published": False, "experimental": True}
    assert "customers, experimental, not published: " in summarise_result(experiment)
    assert "customers, experimental, not published (too weak): " in summarise_result({**experiment, "held_back": ["too weak"]})
    assert events(experiment) == []


def test_the_result_of_a_run_before_there_were_experimental_ones_can_be_read():
    older = {name: value for name, value in RESULT.items() if name != "experimental"} | {"published": False}
    assert "customers, not published: " in summarise_result(older)


def test_the_summary_says_how_many_segments_it_leaves_out():
    assert summarise_result(RESULT).endswith("200 buyers; 1 more")


MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("logical_date", "started", "expected"),
    [
        (MONDAY, MONDAY + timedelta(seconds=2), False),
        (MONDAY, MONDAY + timedelta(days=6, hours=23), False),  # the machine was down until Sunday
        (MONDAY, MONDAY + timedelta(days=7), True),
        (MONDAY - timedelta(weeks=30), MONDAY, True),
        (MONDAY - timedelta(days=1), MONDAY - timedelta(hours=1), False),  # triggered on Monday for Sunday, before it is due
        (MONDAY - timedelta(days=1), MONDAY, True),
        (MONDAY + timedelta(days=30), MONDAY, False),
        (None, MONDAY, False),
    ],
)
def test_a_run_is_for_a_past_date_once_the_next_date_of_the_schedule_has_come(logical_date, started, expected):
    dag = DAG("probe", schedule="0 9 * * 1")
    run = SimpleNamespace(logical_date=logical_date, start_date=started)
    assert is_for_past_date(run, dag.timetable) is expected


@pytest.mark.parametrize(
    ("schedule", "expected"), [("@daily", True), (timedelta(days=1), True), ("@monthly", False), (None, False)]
)
def test_which_dates_are_past_depends_on_the_schedule(schedule, expected):
    run = SimpleNamespace(logical_date=MONDAY, start_date=MONDAY + timedelta(days=2))
    assert is_for_past_date(run, DAG("probe", schedule=schedule).timetable) is expected
