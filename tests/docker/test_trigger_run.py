"""`make trigger` and `make add-user` if another service has taken the port of Airflow, or none answers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docker.commands import make
from tests.docker.stack import free_port


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with a page."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other_service() -> Iterator[ThreadingHTTPServer]:
    Stranger.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def environment(folder: Path, port: int | str) -> str:
    file = folder / "secrets"
    file.write_text(f"AIRFLOW_PORT='{port}'\nAIRFLOW_ADMIN_PASSWORD='hidden'\n")  # pragma: allowlist secret
    return str(file)


@pytest.mark.parametrize("target", ["trigger", "add-user"])
def test_another_service_at_the_port_is_recognised_and_never_gets_the_password(
    tmp_path: Path, other_service: ThreadingHTTPServer, target: str
) -> None:
    file = environment(tmp_path, other_service.server_port)
    ended = make(target, check=False, ENV_FILE=file, USER_NAME="ana", AIRFLOW_PORT=str(other_service.server_port))
    assert ended.returncode != 0
    assert "something else than Airflow answers at http://127.0.0.1:" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert Stranger.asked == ["/api/v2/version"]


def test_without_an_answer_it_prints_how_to_start_airflow(tmp_path: Path) -> None:
    port = free_port()
    ended = make("trigger", check=False, ENV_FILE=environment(tmp_path, port), AIRFLOW_PORT=port)
    assert "is it up? `make up` starts it" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_configuration_that_is_no_json_is_rejected_before_any_request(tmp_path: Path) -> None:
    ended = make("trigger", check=False, ENV_FILE=environment(tmp_path, free_port()), CONF="{k_values")
    assert "CONF is not JSON" in ended.stderr
