"""A fake Docker engine with the real API: containers are entries in a dictionary, and exit as a test has configured.

Docker's own client talks to it. The behaviour of a real engine is tested in test_stage_operator.py.
"""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class End(NamedTuple):
    """How a container exits, and what it has written by then."""

    code: int = 0
    stdout: str = "null\n"
    stderr: str = ""
    out_of_memory: bool = False


class Refusal(NamedTuple):
    status: int
    message: str


class FakeEngine:
    def __init__(self) -> None:
        self.stage, self.folders = End(), End(stdout="")
        """How the containers of the stage exit, and those that make its folders."""
        self.ends: dict[str, End] = {}
        """How single containers exit, if not as the others."""
        self.image_id = "0" * 64
        self.host_folders = {"/data/bank"}
        """The folders that a container can mount."""
        self.images = {f"probe-pipeline/{stage}:latest" for stage in ("train", "segment", "changes")}
        self.containers: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        """The states of containers that do not run."""
        self.statuses: dict[str, str] = {}
        """The statuses of containers, if they matter."""
        self.n_created = 0
        self.created: list[dict[str, Any]] = []
        """The requests for all containers that were ever created."""
        self.refusals: dict[str, Refusal] = {}
        """The answers to refused requests, by the beginning of `POST /containers/create` for example."""
        self.waited_for: list[str] = []

    def add(self, labels: dict[str, str]) -> str:
        """Add a running container that another process has started."""
        return self._create({"Labels": labels})["Id"]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        for request, refusal in self.refusals.items():
            if f"{method} {path}".startswith(request):
                return refusal
        _, kind, *rest = path.split("/")
        if kind == "_ping":
            return b"OK"
        if kind == "version":
            return {"ApiVersion": "1.44"}
        if kind == "info":
            return {"NCPU": 1}
        if kind == "images":
            name = "/".join(rest[:-1])
            known = name in self.images or rest == ["json"]
            return {"Id": "sha256:" + self.image_id} if known else Refusal(404, f"No such image: {name}")
        if rest == ["json"]:
            wanted = set(json.loads(query["filters"][0])["label"])
            listed = self.containers.items()
            return [
                {"Id": one, "Status": self.statuses.get(one, "Up"), "State": self.states.get(one, "running"), "Labels": labels}
                for one, labels in ((one, entry["Labels"]) for one, entry in listed)
                if wanted <= {f"{name}={value}" for name, value in labels.items()}
            ]
        if rest == ["create"]:
            return self._create(body)
        return self._answer_for(rest, query)

    def _create(self, body: dict[str, Any]) -> Any:
        mounts = body.get("HostConfig", {}).get("Mounts", [])
        if missing := [mount["Source"] for mount in mounts if mount["Source"] not in self.host_folders]:
            return Refusal(400, f'invalid mount config for type "bind": bind source path does not exist: {missing[0]}')
        one = f"{self.n_created:064x}"
        self.n_created += 1
        self.created.append(body)
        self.containers[one] = body
        return {"Id": one, "Warnings": []}

    def _answer_for(self, rest: list[str], query: dict[str, list[str]]) -> Any:
        one, action = rest[0], rest[1] if len(rest) > 1 else "remove"
        if action == "wait" and query.get("condition") == ["removed"]:
            self.waited_for.append(one)
            return {"StatusCode": 0}
        if one not in self.containers:
            return Refusal(404, f"No such container: {one}")
        end = self.ends.get(one) or (self.folders if self.containers[one].get("Entrypoint") else self.stage)
        if action == "start" and end is self.folders and end.code == 0:
            (mount,) = self.containers[one]["HostConfig"]["Mounts"]
            self.host_folders |= {path.replace(mount["Target"], mount["Source"], 1) for path in self.containers[one]["Cmd"]}
        if action == "remove":
            del self.containers[one]
        if action == "wait":
            return {"StatusCode": end.code}
        if action == "json":
            state = {"ExitCode": end.code, "OOMKilled": end.out_of_memory, "Running": False}
            times = {"StartedAt": "2026-01-05T09:00:00.000000001Z", "FinishedAt": "2026-01-05T09:00:09.000000001Z"}
            config = {"Tty": False, "Labels": self.containers[one]["Labels"]}
            return {"Id": one, "State": state | times, "Config": config}
        if action == "logs":
            frames = [(1, end.stdout)] * ("1" in query["stdout"]) + [(2, end.stderr)] * ("1" in query["stderr"])
            if "1" in query.get("timestamps", []):
                frames = [(stream, stamped(text, query.get("since"))) for stream, text in frames]
            return b"".join(struct.pack(">BxxxL", stream, len(text)) + text.encode() for stream, text in frames if text)
        return b""


def stamped(text: str, since: Any) -> str:
    """Prefix each line with a time, one second apart, and omit the lines before the second `since`."""
    lines = [f"2026-01-05T09:00:{second:02}.000000001Z {line}" for second, line in enumerate(text.splitlines(), 1)]
    return "".join(
        f"{line}\n" for line in lines if not since or datetime.fromisoformat(line[:30]).timestamp() >= float(since[0])
    )


def _handler(answer: Callable[[str, str, dict[str, list[str]], Any], Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = re.sub(r"^/v[0-9.]+", "", address.path)
            found = answer(self.command, path, parse_qs(address.query), json.loads(body) if body else None)
            self.send_response(found.status if isinstance(found, Refusal) else 200)
            if isinstance(found, Refusal):
                found = {"message": found.message}
            raw = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_header("Content-Type", "application/octet-stream" if found is raw else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815 - http.server calls them so

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def running_fake_engine() -> Iterator[tuple[FakeEngine, str]]:
    """Start a fake engine; yields it and its address."""
    engine = FakeEngine()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine.answer))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield engine, f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
