"""Tell people that a run failed or was held back, with Airflow's own notifiers, if Airflow knows whom to tell.

By webhook if there is an Airflow Connection `customer_segmentation_webhook`, by e-mail if there is an Airflow Variable
`customer_segmentation_mail_to`; see docs/notifications.md. They are looked up when there is something to tell. Whatever goes
wrong here is logged and changes nothing else.
"""

from __future__ import annotations

import logging
from urllib.parse import quote, urlsplit

from airflow.sdk import Connection, Context, Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from dags.assets import summarise_result
from stagekit.airflow.housekeeping import describe_volume
from stagekit.airflow.stage_operator import REASON_KEY

WEBHOOK = "customer_segmentation_webhook"
"""The Airflow Connection of type HTTP whose address gets a POST."""
MAIL_TO = "customer_segmentation_mail_to"
"""The Airflow Variable with the addresses, separated by commas; the server is that of Airflow's Connection smtp_default."""

_TIMEOUT_S = 5  # Airflow ends a process that lives 20 s longer than its task

_SUBJECTS = {"failed": "{} failed", "held back": "a run was held back", "volume filling": "the volume is filling"}

log = logging.getLogger(__name__)


def notify_failure(context: Context) -> None:
    """Tell why a run failed: `on_failure_callback` of the DAG.

    That of the task would not be called where the task's process is killed, by want of memory for example.
    """
    task = context.get("ti")  # the one that failed last
    reason = task.xcom_pull(task_ids=task.task_id, key=REASON_KEY) if task else None
    reason = reason or "it left no reason: its log may tell, or its process was killed"
    _tell(context, "failed", task.task_id if task else "", reason)


def notify_not_published(context: Context) -> None:
    """Tell why a run was held back: `on_success_callback` of the task that would have published it.

    An experimental run was not to be published, so there is nothing to notify of.
    """
    task = context["ti"]
    result = task.xcom_pull(task_ids=task.task_id)
    if not result["published"] and not result.get("experimental"):
        _tell(context, "held back", task.task_id, summarise_result(result))


def notify_volume_filling(context: Context) -> None:
    """Notify that the volume is filling: `on_success_callback` of the task that has measured it."""
    task = context["ti"]
    result = task.xcom_pull(task_ids=task.task_id)
    if result["is_filling"]:
        _tell(context, "volume filling", task.task_id, describe_volume(result))


def _tell(context: Context, event: str, task_id: str, reason: str) -> None:
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
    for where, send in (
        (f"webhook, Connection {WEBHOOK}", _post),
        (f"e-mail, Variable {MAIL_TO}, Connection smtp_default", _mail),
    ):
        try:
            if send(context, message):
                log.info("notified by %s: %s", where, event)
        except Exception as error:
            log.warning("could not notify by %s (%s)", where, type(error).__name__)


# Notifiers take everything for a template, so the texts, in which anything may stand, come into it as values. The notifiers
# are imported when they are needed: no task waits for them otherwise.


def _post(context: Context, message: dict[str, str]) -> bool:
    try:
        connection = Connection.get(WEBHOOK)
    except AirflowNotFoundException:
        return False
    from airflow.providers.http.notifications.http import HttpNotifier

    # Often the path is as good as a password. Airflow logs it with an error unless it knows that.
    mask_secret(urlsplit(connection.host or "").path)
    body = {name: f"{{{{ message.{name} }}}}" for name in ("text", "event", "dag_id", "task_id", "run_id", "reason", "url")}
    notify = HttpNotifier(http_conn_id=WEBHOOK, json=body, extra_options={"timeout": _TIMEOUT_S})
    notify({**context, "message": message})
    return True


def _mail(context: Context, message: dict[str, str]) -> bool:
    to = Variable.get(MAIL_TO, default=None)
    if not to:
        return False
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    page = '<p>{{ message.reason | e }}</p><p><a href="{{ message.url | e }}">Run {{ message.run_id | e }}</a></p>'
    notify = SmtpNotifier(to="{{ message.to }}", subject="{{ message.subject }}", html_content=page)
    notify({**context, "message": {**message, "to": to}})
    return True
