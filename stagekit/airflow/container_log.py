"""The log of a container: followed to the end of the container, resumed after the last line, each line with its level."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from docker.api import APIClient
from docker.errors import APIError, DockerException
from requests import RequestException
from urllib3.exceptions import HTTPError

from stagekit.airflow.interruption import Interruption
from stagekit.errors import TransientError

PATIENCE_S = 60.0
"""For how long an engine may be unreachable while a container is followed; a restart of the engine takes seconds."""
_PAUSE_S = 0.2
_SAVE_INTERVAL_S = 10.0

REMOVED_STATUS_CODES = (404, 409)
"""Answers of the engine for a container that was removed, or is being removed."""

log = logging.getLogger(__name__)


class LogLine(NamedTuple):
    """A line of a container's log."""

    time: str
    """When the engine received it: RFC 3339, UTC, always nine decimals, so that texts compare as times do."""
    text: str


def forward_log(
    client: APIClient, container: str, after: str, interruption: Interruption, save_position: Callable[[str], None]
) -> None:
    """Pass the log of a container on to the log of this process until the container has exited.

    Parameters
    ----------
    client : APIClient
    container : str
        Id of a container that has been started.
    after : str
        Time of the last line that was passed on; empty to begin with the first line.
    interruption : Interruption
        Interrupts the wait for a line.
    save_position : callable
        Called with the time of the last line, every ten seconds and when the wait is interrupted.
    """
    lines = follow(client, container, after)
    level, saved, saved_at = logging.INFO, after, time.monotonic()
    try:
        while True:
            with interruption:
                line = next(lines, None)
            if line is None:
                return
            level = level_of(line.text, level)
            log.log(level, "%s", line.text)
            after = max(after, line.time)
            if time.monotonic() - saved_at > _SAVE_INTERVAL_S:
                save_position(after)
                saved, saved_at = after, time.monotonic()
    finally:
        if interruption.is_requested and after != saved:
            save_position(after)


def follow(client: APIClient, container: str, after: str = "", patience_s: float = PATIENCE_S) -> Iterator[LogLine]:
    """Yield the lines of a container's log until the container has exited.

    A connection that breaks is made again, and the log continues with the first line that has not been yielded.

    Parameters
    ----------
    client : APIClient
    container : str
        Id of a container that has been started.
    after : str
        Time of the last line that is known; empty to begin with the first line.
    patience_s : float
        How long the engine may fail to answer, in seconds.

    Yields
    ------
    LogLine

    Raises
    ------
    TransientError
        If the container is removed meanwhile.
    docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError
        If the engine does not answer for longer than `patience_s`.
    """
    failing_since: float | None = None
    has_exited = False
    while True:
        try:
            for line in _lines(client, container, after):
                # The engine sets the times of stdout and stderr independently, so a line may be older than the one before it.
                after, failing_since = max(after, line.time), None
                yield line
            if has_exited:
                return
            # Then the log is read again: a connection that closes without an error may have missed the last lines.
            has_exited = not client.inspect_container(container)["State"]["Running"]
            failing_since = None
            if has_exited:
                continue
        except (DockerException, RequestException, HTTPError, OSError) as error:
            if isinstance(error, APIError) and error.status_code in REMOVED_STATUS_CODES:
                raise TransientError(explain_removal(container)) from None
            if failing_since is None:
                log.warning("the connection to the Docker engine broke (%s): connecting again", type(error).__name__)
                failing_since = time.monotonic()
            if time.monotonic() - failing_since > patience_s:
                raise
        time.sleep(_PAUSE_S)


def _lines(client: APIClient, container: str, after: str) -> Iterator[LogLine]:
    """Yield the lines later than `after` for as long as the connection and the container last."""
    # The engine takes seconds as a float, which is too coarse for single lines: those known are dropped here.
    since = {"since": datetime.fromisoformat(after).timestamp() - 1} if after else {}
    for raw in split_lines(client.logs(container, stream=True, follow=True, timestamps=True, **since)):
        time_, _, text = raw.partition(" ")
        if time_ > after:
            yield LogLine(time_, text.rstrip())


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream of bytes that arrives in chunks of any size."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def explain_removal(container: str) -> str:
    """Return the reason of a failure because the container was removed."""
    return f"container {container[:12]} was removed before it had ended, by hand or by `make down`"


_LEVEL = re.compile(r"\d\d:\d\d:\d\d \w+: (?:(?P<level>WARNING|ERROR|CRITICAL): |(?P<failed>failed \(\d+, ))?")


def level_of(text: str, previous: int = logging.INFO) -> int:
    """Read the level of a stage's line, as `stagekit.stage.run` formats it.

    Parameters
    ----------
    text : str
        The line, without the engine's time.
    previous : int
        Level of the line above, which a line without a prefix continues: a traceback, for example.

    Returns
    -------
    int
        One of the levels of `logging`.
    """
    prefix = _LEVEL.match(text)
    if not prefix:
        return previous
    if prefix["failed"]:
        return logging.ERROR
    return logging.getLevelNamesMapping()[prefix["level"] or "INFO"]
