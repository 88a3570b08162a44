"""Notifications, sent by Airflow's notifiers to a real web server and a real mail server."""

import json
import socket
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from stagekit.airflow.notifications import notify_failure, notify_not_published, notify_volume_filling
from tests.stagekit.airflow.probe_pipeline import PIPELINE
from tests.stagekit.airflow.receivers import listening_hook, listening_mailbox, text_of

RUN = "manual__2026-01-05T09:00:00+00:00"
PAGE = "http://airflow.test/dags/probe/runs/manual__2026-01-05T09%3A00%3A00%2B00%3A00"


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.test/")


@pytest.fixture
def hook(monkeypatch):
    with listening_hook() as hook:
        connection = {"conn_type": "http", "host": f"{hook.address}/services/T0/secret"}
        monkeypatch.setenv("AIRFLOW_CONN_PROBE_PIPELINE_WEBHOOK", json.dumps(connection))
        yield hook


@pytest.fixture
def mailbox(monkeypatch):
    with listening_mailbox() as mailbox:
        options = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@bank.test"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox.port, "extra": options}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW_VAR_PROBE_PIPELINE_MAIL_TO", "team@bank.test, boss@bank.test")
        yield mailbox


def context(xcom=None):
    """The context of a callback after the task `train` has ended, with the XComs of that task."""
    dag = DAG("probe", schedule=None, default_args={"pipeline": PIPELINE})
    pushed = {"train": xcom or {}}
    task = SimpleNamespace(task_id="train", xcom_pull=lambda task_ids, key="return_value": pushed[task_ids].get(key))
    return {"ti": task, "dag": dag, "run_id": RUN}


def failed(reason="failed (65, invalid data): file.csv row 17: BALANCE is 'abc'"):
    return context({"reason": reason})


def ended(summary="2 segments, not published (silhouette 0.1 is below 0.25)", **result):
    return context({"return_value": result, "summary": summary})


def test_without_a_configured_receiver_nothing_is_sent_or_logged(caplog):
    notify_failure(failed())
    notify_not_published(ended(published=False))
    assert [record.getMessage() for record in caplog.records if record.name == "stagekit.airflow.notifications"] == []


def test_a_webhook_gets_the_failed_task_the_reason_and_the_address_of_the_run(hook):
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


def test_every_address_gets_a_mail_with_the_reason_and_the_link(mailbox):
    notify_failure(failed())
    [mail] = mailbox.got
    assert (mail["From"], mail["To"]) == ("airflow@bank.test", "team@bank.test, boss@bank.test")
    assert mail["Subject"] == "probe: train failed"
    assert "file.csv row 17: BALANCE is &#39;abc&#39;" in text_of(mail)
    assert f'href="{PAGE}"' in text_of(mail)


def test_a_run_that_was_not_published_is_reported_with_its_summary(hook, mailbox):
    notify_not_published(ended(published=False))
    [notification] = hook.got
    assert notification["event"] == "not_published"
    assert notification["reason"] == "2 segments, not published (silhouette 0.1 is below 0.25)"
    assert mailbox.got[0]["Subject"] == "probe: a run was not published"


def test_a_published_or_experimental_run_is_not_reported(hook):
    notify_not_published(ended(published=True))
    notify_not_published(ended(published=False, experimental=True))
    assert hook.got == []


def test_a_failed_task_without_a_reason_is_reported(hook):
    notify_failure(context())
    assert hook.got[0]["task_id"] == "train"
    assert "no reason recorded" in hook.got[0]["reason"]


def test_a_failed_run_without_a_failed_task_is_reported(hook):
    notify_failure({name: value for name, value in context().items() if name != "ti"})
    assert (hook.got[0]["task_id"], hook.got[0]["url"]) == ("", PAGE)


def test_a_reason_is_neither_rendered_as_a_template_nor_as_html(hook, mailbox):
    notify_failure(failed("BALANCE is '{{ 6 * 7 }}<img src=x>'"))
    assert hook.got[0]["reason"] == "BALANCE is '{{ 6 * 7 }}<img src=x>'"
    assert "{{ 6 * 7 }}&lt;img src=x&gt;" in text_of(mailbox.got[0])


@pytest.mark.parametrize("trouble", ["refused", "silent", "500"])
def test_an_unavailable_receiver_is_logged_in_one_line_and_the_other_one_notified(hook, mailbox, trouble, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if trouble == "500":
            hook.status = 500
        else:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0/secret"
            monkeypatch.setenv("AIRFLOW_CONN_PROBE_PIPELINE_WEBHOOK", json.dumps({"conn_type": "http", "host": address}))
            monkeypatch.setattr("stagekit.airflow.notifications._TIMEOUT_S", 1)
        if trouble == "refused":
            silent.close()
        notify_failure(failed())
    warnings = [record.getMessage() for record in caplog.records if record.name == "stagekit.airflow.notifications"]
    assert warnings[0].startswith("could not notify by webhook, Connection probe_pipeline_webhook (")
    assert "secret" not in warnings[0]
    assert len(mailbox.got) == 1, "the other receiver is notified"


def test_a_missing_mail_server_is_logged_and_the_webhook_still_notified(hook, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW_VAR_PROBE_PIPELINE_MAIL_TO", "team@bank.test")
    notify_failure(failed())
    assert len(hook.got) == 1
    assert "could not notify by e-mail, Connection smtp_default, Variable probe_pipeline_mail_to" in caplog.text


def test_a_filling_volume_is_reported_with_its_summary(hook, mailbox):
    notify_volume_filling(ended("the volume is 95% full", is_filling=True))
    [posted] = hook.got
    assert posted["event"] == "volume_filling"
    assert posted["reason"] == "the volume is 95% full"
    [message] = mailbox.got
    assert message["Subject"] == "probe: the volume is filling"


def test_a_volume_with_free_space_is_not_reported(hook):
    notify_volume_filling(ended(is_filling=False))
    assert hook.got == []
