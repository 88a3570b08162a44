"""Notifications of failed runs, runs that were not published, and a volume that fills, with Airflow's own notifiers.

They are sent by webhook if the Airflow Connection `<pipeline>_webhook` exists, and by e-mail if the Airflow Variable
`<pipeline>_mail_to` exists; `<pipeline>` is the identifier of the pipeline in the DAG's `default_args` (docs/notifications.md).
Both are looked up when there is something to send. An error here is logged and changes nothing else.
"""

from __future__ import annotations

import logging
from urllib.parse import quote, urlsplit

from airflow.sdk import Connection, Context, Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from stagekit.airflow.task_results import REASON_KEY, SUMMARY_KEY

_TIMEOUT_S = 5  # Airflow ends a process that lives 20 s longer than its task

_SUBJECTS = {
    "failed": "{} failed",
    "not_published": "a run was not published",
    "volume_filling": "the volume is filling",
}
"""The subject of each event, for the name of the task."""

log = logging.getLogger(__name__)


def notify_failure(context: Context) -> None:
    """Notify that a run failed: `on_failure_callback` of the DAG.

    The callback of the task would not be called if the task's process is killed, for example because memory is exhausted.
    """
    task = context.get("ti")  # the one that failed last
    reason = task.xcom_pull(task_ids=task.task_id, key=REASON_KEY) if task else None
    reason = reason or "no reason recorded; see the task log (the process may have been killed)"
    _notify(context, "failed", task.task_id if task else "", reason)


def notify_not_published(context: Context) -> None:
    """Notify that a run was not published: `on_success_callback` of the task of the stage that publishes.

    The result of that stage contains `published`. An experimental run, whose result contains `experimental`, is not reported.
    """
    task = context["ti"]
    result = task.xcom_pull(task_ids=task.task_id)
    if not result["published"] and not result.get("experimental"):
        _notify(context, "not_published", task.task_id, task.xcom_pull(task_ids=task.task_id, key=SUMMARY_KEY))


def notify_volume_filling(context: Context) -> None:
    """Notify that the volume is filling: `on_success_callback` of the task that has measured it."""
    task = context["ti"]
    if task.xcom_pull(task_ids=task.task_id)["is_filling"]:
        _notify(context, "volume_filling", task.task_id, task.xcom_pull(task_ids=task.task_id, key=SUMMARY_KEY))


def _notify(context: Context, event: str, task_id: str, reason: str) -> None:
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    address = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
    message = {
        "event": event,
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "reason": reason,
        "url": f"{address.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}",
        "subject": f"{dag_id}: {_SUBJECTS[event].format(task_id or 'a run')}",
    }
    message["text"] = "\n".join(message[part] for part in ("subject", "reason", "url"))
    pipeline = context["dag"].default_args["pipeline"].identifier
    for channel, name, send in (
        ("webhook, Connection", f"{pipeline}_webhook", _post),
        ("e-mail, Connection smtp_default, Variable", f"{pipeline}_mail_to", _mail),
    ):
        try:
            if send(name, context, message):
                log.info("notified by %s %s: %s", channel, name, event)
        except Exception as error:
            log.warning("could not notify by %s %s (%s)", channel, name, type(error).__name__)


# Notifiers render all texts as templates, so texts that can contain anything are passed as values. The notifiers are imported
# when they are needed, so that no task waits for them.


def _post(connection_id: str, context: Context, message: dict[str, str]) -> bool:
    """Send a message to the address of a Connection; returns False if there is no such Connection."""
    try:
        connection = Connection.get(connection_id)
    except AirflowNotFoundException:
        return False
    from airflow.providers.http.notifications.http import HttpNotifier

    # The path often serves as a password. Airflow logs it with an error unless it is masked.
    mask_secret(urlsplit(connection.host or "").path)
    body = {name: f"{{{{ message.{name} }}}}" for name in ("text", "event", "dag_id", "task_id", "run_id", "reason", "url")}
    notify = HttpNotifier(http_conn_id=connection_id, json=body, extra_options={"timeout": _TIMEOUT_S})
    notify({**context, "message": message})
    return True


def _mail(variable: str, context: Context, message: dict[str, str]) -> bool:
    """Send a message to the addresses, separated by commas, in a Variable; returns False if there is no such Variable."""
    to = Variable.get(variable, default=None)
    if not to:
        return False
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    page = '<p>{{ message.reason | e }}</p><p><a href="{{ message.url | e }}">Run {{ message.run_id | e }}</a></p>'
    notify = SmtpNotifier(to="{{ message.to }}", subject="{{ message.subject }}", html_content=page)
    notify({**context, "message": {**message, "to": to}})
    return True
