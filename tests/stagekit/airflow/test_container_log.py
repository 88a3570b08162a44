"""The log of a container, from a client that answers as a test has decided: what a broken connection and odd chunks come to."""

import logging

import pytest
from docker.errors import APIError
from requests import ConnectionError as BrokenConnection
from requests import Response

from stagekit.airflow.container_log import LogLine, follow, level_of, split_lines
from stagekit.errors import TransientError


class Client:
    """Answers each request for the log with the next of `answers`: chunks, and exceptions that break the connection."""

    def __init__(self, *answers, running=0):
        self.answers = list(answers)
        self.running = running
        self.since = []

    def logs(self, _container, since=None, **_):
        self.since.append(since)
        for chunk in self.answers.pop(0) if self.answers else ():
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def inspect_container(self, _container):
        self.running -= 1
        return {"State": {"Running": self.running >= 0}}


def at(second, text=""):
    return f"2026-01-05T09:00:{second:02}.000000001Z {text}\n".encode()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("stagekit.airflow.container_log._PAUSE_S", 0)


def texts(client, **arguments):
    return [line.text for line in follow(client, "a" * 64, **arguments)]


def test_the_log_is_followed_until_the_container_has_exited():
    assert list(follow(Client([at(1, "one"), at(2, "two  ")]), "a" * 64)) == [
        LogLine("2026-01-05T09:00:01.000000001Z", "one"),
        LogLine("2026-01-05T09:00:02.000000001Z", "two"),
    ]


@pytest.mark.parametrize("breaks", [BrokenConnection("reset"), OSError("reset")])
def test_after_a_broken_connection_the_log_continues_with_the_first_line_that_is_not_known(breaks):
    client = Client([at(1, "one"), breaks], [at(1, "one"), at(2, "two")])
    assert texts(client) == ["one", "two"]
    assert client.since[0] is None
    assert client.since[1] < 1767603601 <= client.since[1] + 1


def test_a_connection_that_breaks_after_the_container_exited_yields_what_is_left():
    assert texts(Client([BrokenConnection("reset")], [at(1, "last words")])) == ["last words"]


def test_a_connection_that_closes_without_an_error_after_the_container_exited_yields_what_is_left():
    assert texts(Client([at(1, "one")], [at(1, "one"), at(2, "last words")])) == ["one", "last words"]


def test_a_line_of_stdout_that_is_older_than_the_line_before_it_does_not_repeat_the_log():
    log = [at(2, "stderr"), at(1, "stdout")]
    assert texts(Client([*log, BrokenConnection("reset")], log)) == ["stderr", "stdout"]


def test_a_log_that_ends_while_the_container_runs_is_followed_again():
    assert texts(Client([at(1, "one")], [at(2, "two")], running=1)) == ["one", "two"]


def test_lines_that_are_known_are_left_out():
    assert texts(Client([at(1, "one"), at(2, "two")]), after="2026-01-05T09:00:01.000000001Z") == ["two"]


def test_an_engine_that_stays_away_is_given_up():
    with pytest.raises(BrokenConnection):
        texts(Client([BrokenConnection("gone")], [BrokenConnection("gone")]), patience_s=-1)


@pytest.mark.parametrize("status", [404, 409])
def test_a_container_that_is_removed_meanwhile_is_named(status):
    answer = Response()
    answer.status_code = status
    with pytest.raises(TransientError, match="container aaaaaaaaaaaa was removed before it had ended"):
        texts(Client([at(1, "one"), APIError("no such container, or marked for removal", answer)]))


@pytest.mark.parametrize("chunks", [[b"a\nb\xc3", b"\xa4\n\nc"], [b"a\nb\xc3\xa4\n\nc"], [b"a", b"\n", b"b\xc3\xa4\n\n", b"c"]])
def test_lines_do_not_depend_on_how_they_arrive(chunks):
    assert list(split_lines(chunks)) == ["a", "bä", "", "c"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("12:00:00 train: fitting", logging.INFO),
        ("12:00:00 train: WARNING: no id", logging.WARNING),
        ("12:00:00 train: ERROR: this is a defect", logging.ERROR),
        ("12:00:00 train: failed (65, invalid data): no rows", logging.ERROR),
        ("12:00:00 train: WARNINGS are rare", logging.INFO),
        ("  File main.py", logging.DEBUG),
    ],
)
def test_the_level_is_read_from_the_prefix_and_a_line_without_one_continues_the_line_above(text, level):
    assert level_of(text, logging.DEBUG) == level
