"""Guessing passwords is limited, and the API describes itself to signed-in users only.

The answers of Airflow's own form, and its limit, are tested with the whole stack.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient

from stagekit.airflow.login_throttle import MIDDLEWARES, Limit, LoginThrottle


def client_of(throttle: LoginThrottle, address: str = "10.0.0.1") -> TestClient:
    return TestClient(throttle, client=(address, 1), follow_redirects=False)


def app_that_knows_one_password(seconds: float = 0.0) -> FastAPI:
    """Make an app with Airflow's addresses, whose answers to a sign-in look like Airflow's."""
    app = FastAPI()

    @app.post("/auth/token", status_code=201)
    @app.post("/somewhere/auth/token/cli", status_code=201)
    def sign_in(body: dict[str, Any]) -> str:
        time.sleep(seconds)
        if "right" not in body.values():
            raise HTTPException(401)
        return "welcome"

    @app.post("/auth/login/")
    async def form(request: Request) -> RedirectResponse:
        signed_in = request.cookies.get("session") == "of-somebody"
        if not signed_in and b"password=right" not in await request.body():
            return RedirectResponse("/auth/login/", 302)
        answer = RedirectResponse("/", 302)
        answer.set_cookie("session", "of-somebody" if signed_in else "rotated")
        answer.set_cookie("_token", "welcome")
        return answer

    @app.get("/other")
    def refuse() -> None:
        raise HTTPException(401)

    return app


@pytest.fixture
def throttle() -> LoginThrottle:
    """Three wrong passwords are allowed per address, five per user name."""
    return LoginThrottle(app_that_knows_one_password(), by_address=Limit(3, 40), by_name=Limit(5, 900))


def tries(client: TestClient, *passwords: str, path: str = "/auth/token", name: str = "ana") -> list[int]:
    return [client.post(path, json={"username": name, "password": password}).status_code for password in passwords]


def fills_in(client: TestClient, *passwords: str, name: str = "ana") -> list[int]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies = [urlencode({"username": name, "password": password}) for password in passwords]
    return [client.post("/auth/login/", content=body, headers=headers).status_code for body in bodies]


# --- one address


def test_after_too_many_wrong_passwords_even_the_right_one_is_refused(throttle: LoginThrottle) -> None:
    assert tries(client_of(throttle), "a", "b", "c", "d", "right") == [401, 401, 401, 429, 429]


def test_the_waiting_time_is_returned(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    tries(client, "a", "b", "c")
    answer = client.post("/auth/token", json={"password": "right"})
    assert 0 < int(answer.headers["retry-after"]) <= 41
    assert answer.json()["detail"].startswith("too many wrong passwords: wait for ")


def test_wrong_passwords_are_forgotten_after_a_while(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    tries(client, "a", "b", "c")
    throttle.failed = {key: [when - 900 for when in failed] for key, failed in throttle.failed.items()}
    assert tries(client, "right") == [201]
    assert throttle.failed == {}


def test_right_passwords_count_for_nothing(throttle: LoginThrottle) -> None:
    assert tries(client_of(throttle), *["right"] * 9, "a", "b", "right") == [201] * 9 + [401, 401, 201]


def test_others_need_not_wait(throttle: LoginThrottle) -> None:
    tries(client_of(throttle), "a", "b", "c")
    assert tries(client_of(throttle, "10.0.0.2"), "right") == [201]


def test_every_way_to_a_token_counts_and_nothing_else(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    assert [client.get("/other").status_code for _ in range(9)] == [401] * 9
    assert tries(client, "a", "b", path="/somewhere/auth/token/cli") == [401] * 2
    assert fills_in(client, "c") == [302]
    assert tries(client, "right") == [429]
    assert fills_in(client, "right") == [429]


def test_a_host_with_many_ipv6_addresses_is_one_address(throttle: LoginThrottle) -> None:
    assert [tries(client_of(throttle, f"2001:db8::{n}"), "a") for n in range(1, 5)] == [[401], [401], [401], [429]]
    assert tries(client_of(throttle, "2001:db8:0:1::1"), "a") == [401]


@pytest.mark.parametrize("body", ["{", "[1]", json.dumps({"username": ["ana"]}), "[" * 50_000])
def test_what_is_no_sign_in_counts_as_a_failed_one(throttle: LoginThrottle, body: str) -> None:
    client = client_of(throttle)
    for _ in range(3):
        assert client.post("/auth/token", content=body).status_code in {401, 422}
    assert tries(client, "right") == [429]


def test_a_body_that_is_too_long_for_a_sign_in_is_not_read(throttle: LoginThrottle) -> None:
    assert tries(client_of(throttle), "x" * 70_000) == [413]


# --- many at once


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app as Airflow does, from a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def answers_at_once(passwords: list[str]) -> Counter[int]:
    """Send all passwords from a thread each to a server that takes a while to check one; returns how often came what."""
    with served(LoginThrottle(app_that_knows_one_password(0.05))) as address, ThreadPoolExecutor(len(passwords)) as pool:

        def attempt(password: str) -> int:
            body = {"username": "ana", "password": password}
            return requests.post(f"{address}/auth/token", json=body, timeout=30).status_code

        return Counter(pool.map(attempt, passwords))


def test_sixty_wrong_passwords_at_once_are_no_more_guesses_than_one_after_the_other() -> None:
    assert answers_at_once([f"guess {n}" for n in range(60)]) == {401: 5, 429: 55}


def test_sixty_right_passwords_at_once_are_all_taken() -> None:
    assert answers_at_once(["right"] * 60) == {201: 60}


def test_an_attempt_that_ends_with_a_defect_counts_as_a_failed_one() -> None:
    async def defect(*_: Any) -> None:
        raise RuntimeError

    throttle = LoginThrottle(defect, by_address=Limit(2, 40))
    client = TestClient(throttle, raise_server_exceptions=False)
    assert tries(client, "a", "b", "c") == [500, 500, 429]
    assert not throttle.running


# --- many addresses


def test_guesses_for_one_name_from_many_addresses_have_a_limit_at_both_doors(throttle: LoginThrottle) -> None:
    assert [tries(client_of(throttle, f"10.0.1.{n}"), "a")[0] for n in range(4)] == [401] * 4
    assert fills_in(client_of(throttle, "10.0.1.4"), "a") == [302]
    assert tries(client_of(throttle, "10.0.1.5"), "right") == [429]
    assert fills_in(client_of(throttle, "10.0.1.6"), "right") == [429]


@pytest.mark.parametrize("spelling", ["ANA", "Ana"])
def test_the_case_of_a_name_makes_no_other_name(throttle: LoginThrottle, spelling: str) -> None:
    for n in range(5):
        tries(client_of(throttle, f"10.0.1.{n}"), "a", name=spelling)
    assert tries(client_of(throttle), "right") == [429]
    assert tries(client_of(throttle), "right", name="ben") == [201]


def test_a_form_cannot_hide_its_name(throttle: LoginThrottle) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for n, body in enumerate([b"username=ana&x=\xff", b"username=an%61", b"username=ANA"] * 2):
        client_of(throttle, f"10.0.1.{n}").post("/auth/login/", content=body, headers=kind)
    assert tries(client_of(throttle), "right") == [429]
    assert client_of(throttle).post("/auth/login/", files={"username": "ana"}).status_code == 415


def test_a_form_cannot_lock_many_names(throttle: LoginThrottle) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for n in range(6):
        body = b"username=ana&username=ben"
        assert client_of(throttle, f"10.0.1.{n}").post("/auth/login/", content=body, headers=kind).status_code == 400
    assert tries(client_of(throttle), "right") == [201]


@pytest.mark.parametrize("sign_in", [tries, fills_in])
def test_a_user_under_attack_still_signs_in_from_where_the_last_time_was(throttle: LoginThrottle, sign_in: Any) -> None:
    (expected,) = sign_in(client_of(throttle), "right")
    for n in range(9):
        tries(client_of(throttle, f"10.0.1.{n}"), "a")
    assert sign_in(client_of(throttle), "right") == [expected]
    assert sign_in(client_of(throttle, "10.0.0.2"), "right") == [429]
    assert tries(client_of(throttle), "a", "b", "c", "right") == [401, 401, 401, 429], "the limit of an address holds there too"


def test_who_is_signed_in_already_makes_no_address_that_of_another_user(throttle: LoginThrottle) -> None:
    client = client_of(throttle)
    client.cookies.set("session", "of-somebody")
    assert fills_in(client, "wrong") == [302]
    assert throttle.known == set()
    assert fills_in(client, "a", "b", "c") == [302, 302, 429]


# --- in Airflow


def test_airflow_has_the_middlewares(airflow_app: Any) -> None:
    wanted = {entry["middleware"] for entry in MIDDLEWARES}
    assert {middleware.cls.__name__ for middleware in airflow_app.user_middleware} >= {one.__name__ for one in wanted}


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/auth/docs", "/auth/openapi.json"]
)
def test_the_api_describes_itself_to_signed_in_users_only(browser: Any, token: Any, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 401
    assert "paths" not in answer.text
    assert browser.get(path, headers={"Authorization": "Bearer e30.e30.e30"}).status_code in {401, 403}
    signed_in = browser.get(path, headers={"Authorization": f"Bearer {token('VIEWER')}"})
    assert signed_in.status_code in {200, 404}


def test_a_signed_in_browser_sees_the_description_of_the_api(viewer: Any) -> None:
    assert "/api/v2/dags" in viewer.get("/openapi.json").json()["paths"]
    assert "swagger" in viewer.get("/docs").text.lower()
