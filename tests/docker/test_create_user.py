"""`make add-user`: new users may sign in, and passwords are not exposed."""

import secrets

import pytest
import requests

from tests.docker.stack import Stack

pytestmark = pytest.mark.needs_docker


@pytest.fixture
def name() -> str:
    return f"ana-{secrets.token_hex(3)}"


def may_sign_in(stack: Stack, name: str, password: str) -> bool:
    answer = requests.post(f"{stack.address}/auth/token", json={"username": name, "password": password}, timeout=30)
    return answer.status_code == 201


def test_an_empty_password_is_generated_and_printed(stack: Stack, name: str) -> None:
    output = stack.make("add-user", USER_NAME=name, ROLE="Viewer").stdout
    assert f"{name} may sign in at {stack.address} as Viewer with the password " in output
    assert may_sign_in(stack, name, output.split()[-1])


def test_a_password_is_taken_from_stdin_and_printed_nowhere(stack: Stack, name: str) -> None:
    ended = stack.make("add-user", USER_NAME=name, ROLE="Viewer", stdin="correct horse\n")
    assert "horse" not in ended.stdout + ended.stderr
    assert may_sign_in(stack, name, "correct horse")


@pytest.mark.parametrize(
    ("password", "complaint"),
    [
        ("a", "the password has 1 characters, expected at least 12"),
        ("eleven char", "the password has 11 characters, expected at least 12"),
        ("            ", "the password has 1 different characters, expected at least 5"),
    ],
)
def test_a_password_that_is_easily_guessed_is_rejected(stack: Stack, name: str, password: str, complaint: str) -> None:
    ended = stack.make("add-user", USER_NAME=name, ROLE="Viewer", stdin=f"{password}\n", check=False)
    assert ended.returncode != 0
    assert complaint in ended.stderr
    assert not may_sign_in(stack, name, password)


def test_an_existing_user_keeps_the_password(stack: Stack, name: str) -> None:
    stack.make("add-user", USER_NAME=name, ROLE="Viewer", stdin="the first password\n")
    ended = stack.make("add-user", USER_NAME=name, ROLE="Admin", stdin="the second password\n", check=False)
    assert ended.returncode != 0
    assert "already exists" in ended.stderr
    assert may_sign_in(stack, name, "the first password")
    assert not may_sign_in(stack, name, "the second password")


def test_an_unknown_role_is_rejected_by_its_name(stack: Stack, name: str) -> None:
    ended = stack.make("add-user", USER_NAME=name, ROLE="Analyst", check=False)
    assert ended.returncode != 0
    assert "Unknown roles: 'Analyst'" in ended.stderr
    assert "password" not in ended.stdout


def test_without_a_name_it_prints_the_usage(stack: Stack) -> None:
    ended = stack.make("add-user", check=False)
    assert ended.returncode != 0
    assert "make add-user USER_NAME=ana ROLE=Viewer" in ended.stderr
