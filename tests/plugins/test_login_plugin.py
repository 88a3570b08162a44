"""Who guesses passwords has to wait. The limit inside Airflow itself is tested with the whole stack."""

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from plugins.login_plugin import LoginThrottle


def client_of(throttle: LoginThrottle, address: str = "10.0.0.1") -> TestClient:
    return TestClient(throttle, client=(address, 1))


@pytest.fixture
def throttle() -> LoginThrottle:
    """Before an application that knows one password; three wrong ones are allowed."""
    app = FastAPI()

    @app.post("/auth/token", status_code=201)
    @app.post("/somewhere/auth/token/cli", status_code=201)
    def sign_in(body: dict[str, Any]) -> str:
        if "right" not in body.values():
            raise HTTPException(401)
        return "welcome"

    @app.get("/other")
    def refuse() -> None:
        raise HTTPException(401)

    return LoginThrottle(app, most=3)


def tries(client: TestClient, *passwords: str, path: str = "/auth/token") -> list[int]:
    return [client.post(path, json={"password": password}).status_code for password in passwords]


def test_after_too_many_wrong_passwords_even_the_right_one_is_refused(throttle: LoginThrottle) -> None:
    assert tries(client_of(throttle), "a", "b", "c", "d", "right") == [401, 401, 401, 429, 429]


def test_the_one_who_waits_is_told_how_long(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    tries(client, "a", "b", "c")
    answer = client.post("/auth/token", json={"password": "right"})
    assert 0 < int(answer.headers["retry-after"]) <= 41
    assert answer.json()["detail"].startswith("too many wrong passwords: wait for ")


def test_wrong_passwords_are_forgotten_after_a_while(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    tries(client, "a", "b", "c")
    throttle.refused = [(when - throttle.window_s, who) for when, who in throttle.refused]
    assert tries(client, "right") == [201]
    assert throttle.refused == []


def test_right_passwords_count_for_nothing(throttle: LoginThrottle) -> None:
    assert tries(client_of(throttle), *["right"] * 9, "a", "b", "right") == [201] * 9 + [401, 401, 201]


def test_others_need_not_wait(throttle: LoginThrottle) -> None:
    tries(client_of(throttle), "a", "b", "c")
    assert tries(client_of(throttle, "10.0.0.2"), "right") == [201]


def test_every_way_to_a_token_counts_and_nothing_else(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    assert [client.get("/other").status_code for _ in range(9)] == [401] * 9
    assert tries(client, "a", "b", "c", path="/somewhere/auth/token/cli") == [401] * 3
    assert tries(client, "right") == [429]
