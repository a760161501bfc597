"""One of the services: a real HTTP server on loopback, in a process of its own, with a SQLite database of its own.

`Service.handle` is what makes it safe to call again, late, or to undo what never came: five lines around the barrier.
The rest is HTTP and the script's faults: a call may be turned away, hang until nobody waits for it any more, or be
handled and never answered. Every call is written down in a table of its own, for the audit and the timeline.

The first line on standard output is `{"port": ...}`. The service ends when its standard input is closed, hence also
when whoever started it dies.
"""

import argparse
import json
import os
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from resilience.saga.barrier import Barrier, Call, TooLate, key_from

from .participants import PARTICIPANTS, Participant, Refused, answer
from .script import STALL, Fault, Script
from .values import Order

CALLS = "CREATE TABLE calls (at REAL, call_key TEXT, nth INTEGER, fault TEXT, verdict TEXT);"

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Service(ThreadingHTTPServer):
    """A threaded HTTP server around one participant.

    Args:
        participant: What it does.
        script: What goes wrong.
        database: Where its tables are; created here.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, participant: Participant, script: Script, database: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.participant = participant
        self.script = script
        self.closing = threading.Event()
        self._database = database
        self._come: Counter[str] = Counter()
        self._counting = threading.Lock()
        with closing(self.connect()) as connection:
            connection.executescript(f"PRAGMA journal_mode = WAL; {participant.schema} {CALLS}")
            Barrier(connection).create_table()
            participant.fill(connection, script)
            connection.commit()

    def connect(self) -> sqlite3.Connection:
        """A connection to its database."""
        return sqlite3.connect(self._database, timeout=10.0)

    def nth(self, key: str) -> int:
        """The how-maniest time this key has come."""
        with self._counting:
            self._come[key] += 1
            return self._come[key]

    def handle(self, path: str, key: str, order: Order) -> Call:
        """Do what is asked for, once, in one transaction with the barrier's row."""
        with closing(self.connect()) as connection, connection:
            barrier, undoes = Barrier(connection), path in self.participant.undos
            call = barrier.undo(key) if undoes else barrier.do(key)
            if call.fresh:
                work = (self.participant.undos if undoes else self.participant.steps)[path]
                try:
                    call.answer(json.dumps(answer(work(connection, order))))
                except Refused as no:
                    call.refuse(json.dumps({"refused": str(no)}))
        return call

    def write_down(self, *call: object) -> None:
        """Keep what became of a call."""
        with closing(self.connect()) as connection, connection:
            connection.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", call)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @property
    def service(self) -> Service:
        """The server, by its own type."""
        return cast("Service", self.server)

    def do_POST(self) -> None:
        """Do what is asked for, and what the script adds to that."""
        came, key, body = time.time(), key_from(self.headers), self.body()
        nth = self.service.nth(key)
        reaction = self.service.script.reaction(key, nth)
        self.service.closing.wait(STALL if reaction.fault is Fault.STALL else reaction.before)
        status, answer, verdict = self.outcome(reaction.fault, key, Order(**json.loads(body)))
        self.service.write_down(came, key, nth, reaction.fault, verdict)
        self.service.closing.wait(reaction.after)
        if reaction.fault is Fault.LOST:
            self.reset()
        else:
            self.respond(status, answer)

    def body(self) -> bytes:
        """What was sent; a client that was killed in the middle of a word has asked for nothing."""
        length = int(self.headers["Content-Length"])
        if len(body := self.rfile.read(length)) < length:
            raise ConnectionError("the client hung up in the middle of a request")
        return body

    def outcome(self, fault: Fault, key: str, order: Order) -> tuple[int, str, str]:
        """The status and the body to answer, and in one word what was done."""
        if fault is Fault.UNAVAILABLE:
            return 503, "{}", "nothing"
        try:
            call = self.service.handle(self.path, key, order)
        except TooLate as late:
            return 409, json.dumps({"refused": str(late)}), "too late"
        if call.refused:
            return 409, call.reply or "{}", "refused"
        if call.fresh:
            return 200, call.reply or "{}", "undone" if self.path in self.service.participant.undos else "done"
        return 200, call.reply or "{}", "repeated" if call.reply else "nothing to undo"

    def respond(self, status: int, body: str) -> None:
        """Send an answer."""
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

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
        """Keep quiet: the calls are in the database."""


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PARTICIPANTS)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for whoever started us
    script = Script(options.orders, options.seed)
    with Service(PARTICIPANTS[options.name], script, options.database) as service:
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        os.write(sys.stdout.fileno(), json.dumps({"port": service.server_port}).encode() + b"\n")
        sys.stdin.read()
        service.closing.set()
        service.shutdown()


if __name__ == "__main__":
    main()
