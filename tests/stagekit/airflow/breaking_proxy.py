"""A TCP proxy in front of the Docker engine that breaks the connection of a followed log once the container has exited."""

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENGINE = "/var/run/docker.sock"
_END_OF_RESPONSE = b"0\r\n\r\n"  # the last chunk of a chunked response


class BreakingProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.n_broken = 0

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        is_following = False

        def pass_requests(engine: socket.socket) -> None:
            nonlocal is_following
            with suppress(OSError):
                while request := self.request.recv(65536):
                    is_following = b"follow=1" in request.partition(b"\r\n")[0]
                    engine.sendall(request)

        with socket.socket(socket.AF_UNIX) as engine, suppress(OSError):
            engine.connect(ENGINE)
            threading.Thread(target=pass_requests, args=(engine,), daemon=True).start()
            while response := engine.recv(65536):
                if is_following and response.endswith(_END_OF_RESPONSE) and not self.server.n_broken:
                    self.server.n_broken += 1
                    self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not close
                    self.request.close()
                    return
                self.request.sendall(response)


@contextmanager
def breaking_proxy() -> Iterator[BreakingProxy]:
    with BreakingProxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
