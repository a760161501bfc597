"""The service: a real HTTP server on loopback, in a process of its own, that keeps to its schedule.

It answers, stalls, fails and recovers, and writes one line to its standard output for every request the moment it
arrives; that is the service's side of the story, told by nobody else. It ends when its standard input is closed,
hence also when whoever started it dies. It knows nothing of the client or of any policy.

The first line it writes is `{"port": ..., "starts": ...}`: where it listens, and the moment at which its schedule
begins, on the machine's monotonic clock.
"""

import argparse
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, cast

from .schedule import OUTAGE, Answer, Kind, Schedule

LEAD = 1.0
"""Seconds between the first line and the start of the schedule: time for the caller to get ready."""

BODY = b'{"answer": 42}\n'

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Service(ThreadingHTTPServer):
    """A threaded HTTP server that looks at its schedule before it answers."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, schedule: Schedule, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schedule = schedule
        self.seed = seed
        self.starts = time.monotonic() + LEAD
        self.closing = threading.Event()

    def decide(self, call: str, attempt: int) -> tuple[float, Answer]:
        """When the request arrived, and what it gets: a function of the moment, the seed and the request."""
        moment = time.monotonic() - self.starts
        return moment, self.schedule.at(moment).answer(Random(f"{self.seed}/{call}/{attempt}"))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @property
    def service(self) -> Service:
        """The server, by its own type."""
        return cast("Service", self.server)

    def do_GET(self) -> None:
        """Write the request down, wait as long as the schedule says, and do what it says."""
        call, attempt = self.headers.get("X-Call-Id", "?"), int(self.headers.get("X-Attempt", "0"))
        moment, answer = self.service.decide(call, attempt)
        tell(call=call, attempt=attempt, at=moment, kind=answer.kind, retry_after=answer.retry_after)
        self.service.closing.wait(answer.delay)
        if answer.kind is Kind.RESET:
            self.reset()
        else:
            self.respond(answer)

    def respond(self, answer: Answer) -> None:
        """Send 200, or 503 with the wait that the schedule asks for."""
        self.send_response(503 if answer.kind is Kind.ERROR else 200)
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def reset(self) -> None:
        """Drop the connection with a TCP reset, as a crashing process does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def handle(self) -> None:
        """Serve the connection until either side hangs up: clients that lose patience are part of the story."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def finish(self) -> None:
        """Close the files, also when the client has gone in the middle of an answer."""
        try:
            super().finish()
        except ConnectionError:
            self.rfile.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Keep quiet: `tell` has written it down already."""


def tell(**facts: object) -> None:
    """Write one line; one system call, so that the lines of two threads never mix."""
    os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=OUTAGE.seconds)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for whoever started us
    with Service(OUTAGE.lasting(options.seconds), options.seed) as service:
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        tell(port=service.server_port, starts=service.starts)
        sys.stdin.read()
        service.closing.set()
        service.shutdown()


if __name__ == "__main__":
    main()
