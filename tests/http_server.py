"""A small HTTP service on loopback that misbehaves on demand: real sockets, and nothing that waits for a clock.

The path says what happens:

==================================  =====================================================================
`/status/503`                       that status; query parameters become headers (`?Retry-After=7`)
`/script`                           the next status of `Service.script`, then 200
`/drop`                             the connection closes before any answer
`/reset`                            the same, with a TCP reset
`/garbage`                          an answer that is not HTTP
`/truncated`, `/truncated-chunks`   the body ends before its announced end
`/undecodable`                      a body that is not the gzip its headers announce
`/stall`, `/stall-body`             silence until `Service.release` is set; the second sends its headers first
`/loop`                             a redirect to itself
==================================  =====================================================================
"""

import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit


class Service:
    """The running service, to be used as a context manager.

    Attributes:
        hits: The paths that were asked for, in order: what really reached the service.
        script: The statuses that `/script` answers with, used up from the left.
        release: Set it to let every stalled answer end.
    """

    def __init__(self, script: Iterable[int] = (), tls: ssl.SSLContext | None = None) -> None:
        self.hits: list[str] = []
        self.script = deque(script)
        self.release = threading.Event()
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="http-service")

    @property
    def netloc(self) -> str:
        """Host and port, for a URL of another scheme."""
        return f"127.0.0.1:{self._server.server_port}"

    def url(self, path: str) -> str:
        """The address of a path of the table above."""
        return f"{self._scheme}://{self.netloc}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def unused_port() -> int:
    """A port of this host where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: Service, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that give up in the middle are the point here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        service = self.server.service
        service.hits.append(parts.path)
        self.close_connection = True
        first, *rest = parts.path.strip("/").split("/")
        if first == "status":
            self._answer(int(rest[0]), parse_qsl(parts.query))
        elif first == "script":
            self._answer(service.script.popleft() if service.script else 200)
        else:
            _MISBEHAVIOURS[first](self)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"{}") -> None:
        body = b"" if status == HTTPStatus.NO_CONTENT else body
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        """Close without a word; the base class closes the socket."""

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _garbage(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    def _truncated(self) -> None:
        self._answer(200, [("Content-Length", "100")])

    def _truncated_chunks(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}")

    def _undecodable(self) -> None:
        self._answer(200, [("Content-Encoding", "gzip")], b"this is no gzip")

    def _stall(self) -> None:
        self.server.service.release.wait()

    def _stall_body(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
        self.server.service.release.wait()

    def _loop(self) -> None:
        self._answer(302, [("Location", self.path)])


_MISBEHAVIOURS: dict[str, Callable[[_Handler], None]] = {
    "drop": _Handler._drop,
    "reset": _Handler._reset,
    "garbage": _Handler._garbage,
    "truncated": _Handler._truncated,
    "truncated-chunks": _Handler._truncated_chunks,
    "undecodable": _Handler._undecodable,
    "stall": _Handler._stall,
    "stall-body": _Handler._stall_body,
    "loop": _Handler._loop,
}
