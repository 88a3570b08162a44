import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagekit.volume.runs import run_folder


def test_a_plain_name_is_kept():
    assert run_folder("demo-2026_01") == "demo-2026_01"


def test_the_run_ids_of_airflow_become_readable_folders():
    folder = run_folder("manual__2026-01-05T09:00:00.123+00:00")
    assert folder.startswith("manual__2026-01-05t09-00-00-123-00-00-")


@pytest.mark.parametrize(
    "run", ["..", "../up", "/etc", "a/b", "a\\b", "con", "CON", ".hidden", " ", "é", "x" * 250, "-rf", "a."]
)
def test_no_run_id_leaves_the_runs_folder_or_upsets_a_file_system(run):
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,90}", run_folder(run))
    assert run_folder(run) != run


@pytest.mark.parametrize(
    ("one", "other"),
    [("Demo", "demo"), ("a:b", "a+b"), ("a b", "a-b"), ("x" * 100, "x" * 101), ("é", "e\u0301"), ("a", "a ")],
)
def test_run_ids_that_look_alike_have_folders_of_their_own(one, other):
    assert run_folder(one) != run_folder(other)


def test_a_long_run_id_gets_a_name_that_every_file_system_takes():
    assert re.fullmatch("(run-){15}-[0-9a-f]{16}", run_folder("Run " * 60))


def test_a_run_id_may_hold_bytes_that_are_no_text():
    assert run_folder("run \udcff").startswith("run-")
    assert run_folder("run \udcff") != run_folder("run \udcfe")


def test_a_run_named_like_the_folder_of_another_does_not_share_it():
    folder = run_folder("a:b")
    assert run_folder(folder) != folder


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_run_ids_never_share_a_folder_even_if_case_is_ignored(one, other):
    if one != other:
        assert run_folder(one).lower() != run_folder(other).lower()


@given(st.text(min_size=1))
def test_every_folder_name_is_safe(run):
    assert re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,90}", run_folder(run))
