import os
import subprocess
import sys
import termios
from functools import partial

import pytest

from stagekit.workers.progress import label_of, progress

CODE = """
import logging, sys, time
from stagekit.workers.worker_pool import worker_pool

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")

def assign_part(number, other=0):
    time.sleep(0.1)
    return number

with worker_pool() as pool:
    parts = pool.persist(assign_part, range(12))
    for number in pool.map(assign_part, range(12)):
        logging.info("line %d", number)
print("tqdm" in sys.modules)
"""


POLLED = """
import sys, time
from stagekit.workers.progress import polled_progress

shares = iter([-0.01, 0.25, 0.5, 0.4])
with polled_progress(lambda: next(shares, 0.75), "load file.csv", 8_000_000):
    time.sleep(1.5)
print("tqdm" in sys.modules)
"""


def run_with_terminal(code: str) -> tuple[str, str]:
    """Run code with a terminal as stderr; returns what it writes to stdout and to the terminal."""
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        os.close(stderr)
        shown = b""
        try:
            while block := os.read(terminal, 65536):
                shown += block
        except OSError:  # how Linux reports that the other end is closed
            pass
        os.close(terminal)
        assert process.stdout
        return process.stdout.read(), shown.decode()


def test_a_terminal_shows_a_bar_with_rate_and_remaining_time_and_log_lines_stay_whole():
    out, shown = run_with_terminal(CODE)
    assert out == "True\n"
    assert "assign part:" in shown
    assert "/12 [" in shown
    assert "part/s]" in shown
    lines = [line.split("\r")[-1].removeprefix("\x1b[K") for line in shown.split("\r\n")]
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(12)]


def test_a_terminal_shows_the_share_that_another_library_reports():
    out, shown = run_with_terminal(POLLED)
    assert out == "True\n"
    assert "load file.csv:  75%" in shown
    assert "6.00M/8.00M [" in shown
    assert "B/s]" in shown


def test_without_a_terminal_the_share_is_never_read():
    ended = subprocess.run([sys.executable, "-c", POLLED], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_without_a_terminal_the_log_is_unchanged_and_tqdm_is_not_imported():
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
    assert ended.stderr == "".join(f"line {number}\n" for number in range(12))


def test_items_are_returned_as_they_are_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    items = iter([1, 2])
    assert progress(items, "count") is items


@pytest.mark.parametrize(
    ("function", "label"), [(label_of, "label of"), (partial(partial(run_with_terminal)), "run with terminal")]
)
def test_a_bar_is_labelled_by_the_function(function, label):
    assert label_of(function) == label
