"""Notifications, sent by Airflow's notifiers to a real web server and a real mail server."""

import json
import socket
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from stagekit.airflow.notifications import notify_failure, notify_not_published, notify_volume_filling
from tests.stagekit.airflow.receivers import listening_hook, listening_mailbox, text_of

RUN = "manual__2026-01-05T09:00:00+00:00"
PAGE = "http://airflow.test/dags/probe/runs/manual__2026-01-05T09%3A00%3A00%2B00%3A00"
HELD_BACK = {
    "run": RUN,
    "k": 2,
    "customers": 1200,
    "published": False,
    "held_back": ["silhouette 0.1 is below 0.25"],
    "segments": [{"id": 1, "name": "savers", "customers": 1000}, {"id": 2, "name": "buyers", "customers": 200}],
}


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.test/")


@pytest.fixture
def hook(monkeypatch):
    with listening_hook() as hook:
        connection = {"conn_type": "http", "host": f"{hook.address}/services/T0/secret"}
        monkeypatch.setenv("AIRFLOW_CONN_CUSTOMER_SEGMENTATION_WEBHOOK", json.dumps(connection))
        yield hook


@pytest.fixture
def mailbox(monkeypatch):
    with listening_mailbox() as mailbox:
        options = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@bank.test"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox.port, "extra": options}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION_MAIL_TO", "team@bank.test, boss@bank.test")
        yield mailbox


def context(xcom=None):
    """What Airflow hands to a callback when the last task to end was `train`, with what that task has pushed."""
    with DAG("probe", schedule=None) as dag:
        pass
    pushed = {"train": xcom or {}}
    task = SimpleNamespace(task_id="train", xcom_pull=lambda task_ids, key="return_value": pushed[task_ids].get(key))
    return {"ti": task, "dag": dag, "run_id": RUN}


def failed(reason="failed (65, invalid data): file.csv row 17: BALANCE is 'abc'"):
    return context({"reason": reason})


def ended(result):
    return context({"return_value": result})


def test_where_nothing_is_configured_nothing_is_sent_and_nothing_said(caplog):
    notify_failure(failed())
    notify_not_published(ended(HELD_BACK))
    assert [record.getMessage() for record in caplog.records if record.name == "stagekit.airflow.notifications"] == []


def test_a_webhook_is_told_what_failed_where_and_why_in_one_line(hook):
    notify_failure(failed("failed (65, invalid data): no rows"))
    assert hook.got == [
        {
            "path": "/services/T0/secret",
            "event": "failed",
            "dag_id": "probe",
            "run_id": RUN,
            "task_id": "train",
            "reason": "failed (65, invalid data): no rows",
            "url": PAGE,
            "text": f"probe: train failed\nfailed (65, invalid data): no rows\n{PAGE}",
        }
    ]


def test_everybody_named_gets_a_mail_with_the_reason_and_the_link(mailbox):
    notify_failure(failed())
    [mail] = mailbox.got
    assert (mail["From"], mail["To"]) == ("airflow@bank.test", "team@bank.test, boss@bank.test")
    assert mail["Subject"] == "probe: train failed"
    assert "file.csv row 17: BALANCE is &#39;abc&#39;" in text_of(mail)
    assert f'href="{PAGE}"' in text_of(mail)


def test_a_run_that_was_held_back_is_told_with_the_reasons(hook, mailbox):
    notify_not_published(ended(HELD_BACK))
    [told] = hook.got
    assert told["event"] == "held back"
    assert "not published (silhouette 0.1 is below 0.25)" in told["reason"]
    assert mailbox.got[0]["Subject"] == "probe: a run was held back"


def test_a_run_that_was_published_is_nothing_to_tell(hook):
    notify_not_published(ended({**HELD_BACK, "published": True}))
    notify_not_published(ended({**HELD_BACK, "experimental": True}))
    assert hook.got == []


def test_a_task_that_could_not_say_why_is_told_all_the_same(hook):
    notify_failure(context())
    assert hook.got[0]["task_id"] == "train"
    assert "it left no reason" in hook.got[0]["reason"]


def test_a_run_that_failed_by_no_task_in_particular_is_told_too(hook):
    notify_failure({name: value for name, value in context().items() if name != "ti"})
    assert (hook.got[0]["task_id"], hook.got[0]["url"]) == ("", PAGE)


def test_nothing_in_a_reason_is_taken_for_a_template_or_for_html(hook, mailbox):
    notify_failure(failed("BALANCE is '{{ 6 * 7 }}<img src=x>'"))
    assert hook.got[0]["reason"] == "BALANCE is '{{ 6 * 7 }}<img src=x>'"
    assert "{{ 6 * 7 }}&lt;img src=x&gt;" in text_of(mailbox.got[0])


@pytest.mark.parametrize("trouble", ["refused", "silent", "500"])
def test_a_receiver_that_is_down_is_named_in_one_line_and_stops_nothing(hook, mailbox, trouble, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if trouble == "500":
            hook.status = 500
        else:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0/secret"
            monkeypatch.setenv("AIRFLOW_CONN_CUSTOMER_SEGMENTATION_WEBHOOK", json.dumps({"conn_type": "http", "host": address}))
            monkeypatch.setattr("stagekit.airflow.notifications._TIMEOUT_S", 1)
        if trouble == "refused":
            silent.close()
        notify_failure(failed())
    warnings = [record.getMessage() for record in caplog.records if record.name == "stagekit.airflow.notifications"]
    assert warnings[0].startswith("could not notify by webhook, Connection customer_segmentation_webhook (")
    assert "secret" not in warnings[0]
    assert len(mailbox.got) == 1, "the other receiver is told all the same"


def test_a_mail_server_that_is_not_configured_stops_nothing(hook, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW_VAR_CUSTOMER_SEGMENTATION_MAIL_TO", "team@bank.test")
    notify_failure(failed())
    assert len(hook.got) == 1
    assert "could not notify by e-mail, Variable customer_segmentation_mail_to, Connection smtp_default" in caplog.text


VOLUME = {"dry_run": False, "n_removed": 2, "freed_bytes": 0, "free_bytes": 10**9, "used_share": 0.95, "is_filling": True}


def test_a_volume_that_fills_is_notified_of(hook, mailbox):
    notify_volume_filling(ended(VOLUME))
    [posted] = hook.got
    assert posted["event"] == "volume filling"
    assert posted["reason"].startswith("removed 2 runs (0.0 GB); the volume is 95% full, 1.0 GB are free")
    [message] = mailbox.got
    assert message["Subject"] == "probe: the volume is filling"


def test_a_volume_with_room_is_no_news(hook):
    notify_volume_filling(ended(VOLUME | {"is_filling": False}))
    assert hook.got == []
