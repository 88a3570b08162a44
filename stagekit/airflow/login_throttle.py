"""Limit how fast passwords can be guessed, and show the description of the REST API to signed-in users only.

Airflow limits its login form by address (`[fab] auth_rate_limit`, 5 tries in 40 seconds).
It does not limit /auth/token, where clients of the REST API sign in with the same passwords, nor guesses from many addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect

TOKEN_PATHS = ("/auth/token", "/auth/token/cli")
FORM_PATHS = ("/auth/login", "/auth/login/")
DOCUMENTATION = ("docs", "redoc", "openapi.json", "oauth2-redirect")
_MAX_BODY_BYTES = 1 << 16
_MAX_NAME = 256  # characters; the database holds no longer ones


class Limit(NamedTuple):
    """At most `failures` failed sign-ins in `window_s` seconds."""

    failures: int
    window_s: float


BY_ADDRESS = Limit(5, 40)
BY_NAME = Limit(20, 900)


class LoginThrottle(BaseHTTPMiddleware):
    """Refuse sign-ins while an address or a user name has too many failed ones.

    An attempt counts from its start, before its password is checked, and is refunded if it succeeds.
    Attempts that start while running ones could still exceed a limit wait for these to end.

    by_address
        Limit per address; for IPv6 per /64 network, since a single host usually has all of its addresses.
    by_name
        Limit per user name over all addresses.
        Addresses from which that user has signed in since the start of the server are exempt: otherwise, guessing without
        end would lock the user out.

    The counts are in the memory of one process: the api-server has one worker.
    """

    def __init__(self, app: Any, by_address: Limit = BY_ADDRESS, by_name: Limit = BY_NAME) -> None:
        super().__init__(app)
        self.limits = {"address": by_address, "name": by_name}
        self.failed: dict[tuple[str, str], list[float]] = {}
        """When attempts failed, in ascending order, by ("address", address) and ("name", name)."""
        self.running: Counter[tuple[str, str]] = Counter()
        self.known: set[tuple[str, str]] = set()
        """Pairs of user name and address that belong together."""
        self._ended = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request; only a sign-in is passed to `dispatch`, which would slow the others down."""
        is_sign_in = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(TOKEN_PATHS + FORM_PATHS)
        await (super().__call__ if is_sign_in else self.app)(scope, receive, send)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Handle one sign-in."""
        is_form = request.scope["path"].endswith(FORM_PATHS)
        if is_form and not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return _refuse(415, "expected a form as application/x-www-form-urlencoded")
        body = await _read_body(request)
        if body is None:
            return _refuse(413, f"expected at most {_MAX_BODY_BYTES} bytes")

        address = _network_of(request.client.host if request.client else "")
        names = _names_in(body, is_form=is_form)
        if len(names) > 1:  # a form with thousands of names would lock them all
            return _refuse(400, "expected one user name")
        keys = [("address", address), *(("name", name) for name in names if (name, address) not in self.known)]
        wait_s = await self._admit(keys)
        if wait_s:
            return _refuse(429, f"too many wrong passwords: wait for {wait_s} seconds", {"Retry-After": str(wait_s)})

        succeeded = False
        try:
            response = await call_next(request)
            succeeded = _has_signed_in(request, response) if is_form else response.status_code < 300
            return response
        finally:
            async with self._ended:
                for key in keys:
                    self.running[key] -= 1
                    if not succeeded:
                        self.failed.setdefault(key, []).append(time.monotonic())
                if succeeded:
                    self.known |= {(name, address) for name in names}
                self.running += Counter()  # drops the zeros
                self._ended.notify_all()

    async def _admit(self, keys: list[tuple[str, str]]) -> int:
        """Count the start of an attempt and return 0, or return after how many seconds the next one is allowed."""
        async with self._ended:
            while True:
                self._forget()
                waits_s, is_full = [], False
                for key in keys:
                    limit, failed = self.limits[key[0]], self.failed.get(key, [])
                    if len(failed) >= limit.failures:
                        waits_s.append(failed[-limit.failures] + limit.window_s - time.monotonic())
                    is_full |= len(failed) + self.running[key] >= limit.failures
                if waits_s:
                    return max(1, round(max(waits_s)) + 1)
                if not is_full:
                    self.running.update(keys)
                    return 0
                await self._ended.wait()

    def _forget(self) -> None:
        """Remove the failures that are older than the window of their limit."""
        now = time.monotonic()
        recent = {
            key: [when for when in failed if when > now - self.limits[key[0]].window_s] for key, failed in self.failed.items()
        }
        self.failed = {key: failed for key, failed in recent.items() if failed}


class DocumentationGuard:
    """ASGI middleware: the description of the REST API is for signed-in users."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith(tuple(f"/{name}" for name in DOCUMENTATION)):
            request = Request(scope)
            try:
                await get_user(request, None, await bearer_scheme(request))
            except HTTPException as error:
                await _refuse(error.status_code, str(error.detail))(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _read_body(request: Request) -> bytes | None:
    """Read the body of a request as `Request.body` does; None if it is longer than a sign-in needs."""
    body = b""
    with suppress(ClientDisconnect):  # the beginning of a sign-in counts as one
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                return None
    request._body = body
    return body


def _names_in(body: bytes, *, is_form: bool) -> set[str]:
    """Return every user name in the body of a sign-in, as Airflow compares them: without regard to case."""
    try:
        values = parse_qs(body.decode(errors="replace")).get("username", []) if is_form else [json.loads(body)["username"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return set()  # Airflow refuses it too
    return {value.lower()[:_MAX_NAME] for value in values if isinstance(value, str)}


def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def _has_signed_in(request: Request, response: Response) -> bool:
    """Determine from the answer of the login form whether the password was right.

    Airflow then redirects, sets the cookie with the token, and gives the session another id.
    The session of a user who was already signed in keeps its id: that answer reveals nothing about a password.
    """
    lines = [value.partition(";")[0] for value in response.headers.getlist("set-cookie")]
    cookies = {name: value for name, _, value in (line.partition("=") for line in lines)}
    session = cookies.get("session")
    is_new = bool(session) and str(session) not in request.headers.get("cookie", "")
    return response.status_code == 302 and "_token" in cookies and is_new


def _refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


MIDDLEWARES: list[Any] = [
    {"name": "login throttle", "middleware": LoginThrottle},
    {"name": "documentation for signed-in users", "middleware": DocumentationGuard},
]
"""For `fastapi_root_middlewares` of a plugin."""
