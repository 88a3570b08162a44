from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from stagekit.airflow.schedule import is_for_past_date

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
