"""Slows down those who guess passwords.

Airflow limits its login form (`[fab] auth_rate_limit`, 5 tries in 40 seconds) and leaves /auth/token, where clients of the
REST API sign in with the same passwords, to as many tries as one likes.
"""

from __future__ import annotations

import time
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PATHS = ("/auth/token", "/auth/token/cli")


class LoginThrottle:
    """ASGI middleware: after `most` refused passwords from one address, it has to wait until the first is `window_s` old."""

    def __init__(self, app: Any, most: int = 5, window_s: float = 40.0) -> None:
        self.app = app
        self.most = most
        self.window_s = window_s
        self.refused: list[tuple[float, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(PATHS):
            await self.app(scope, receive, send)
            return

        address = scope["client"][0] if scope["client"] else ""
        self.refused = [entry for entry in self.refused if entry[0] > time.monotonic() - self.window_s]
        of_address = [when for when, who in self.refused if who == address]
        if len(of_address) >= self.most:
            wait_s = round(of_address[0] + self.window_s - time.monotonic()) + 1
            body = b'{"detail": "too many wrong passwords: wait for %d seconds"}' % wait_s
            headers = [(b"content-type", b"application/json"), (b"retry-after", str(wait_s).encode())]
            await send({"type": "http.response.start", "status": 429, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return

        async def count(message: Any) -> None:
            if message.get("status") == 401:
                self.refused.append((time.monotonic(), address))
            await send(message)

        await self.app(scope, receive, count)


MIDDLEWARES: list[Any] = [{"name": "login throttle", "middleware": LoginThrottle}]


class LoginPlugin(AirflowPlugin):
    name = "login_throttle"
    fastapi_root_middlewares = MIDDLEWARES
