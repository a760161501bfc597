"""A saga whose effects are lines in a file, and a program that runs it and kills itself at a given point."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from resilience.saga import NoEffect, Saga, SQLiteJournal, step
from resilience.saga._points import When, probe


@dataclass
class Order(Saga[int, str], name="order"):
    """Three steps, of which the last may be refused."""

    ledger: Path
    refused: bool = False

    @step
    def reserve(self, number: int) -> str:
        self._act("do")
        return f"shelf {number}"

    @reserve.undo
    def release(self, reserve: str | None) -> None:
        self._act("undo")

    @step
    def charge(self, reserve: str) -> str:
        self._act("do")
        return f"receipt for {reserve}"

    @charge.undo
    def refund(self, charge: str | None) -> None:
        self._act("undo")

    @step
    def confirm(self, charge: str) -> str:
        if self.refused:
            raise NoEffect("not today")
        self._act("do")
        return charge

    def _act(self, what: str) -> None:
        """An effect: it is there even if this process is gone the next moment."""
        ledger = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, f"{what} {self.key}\n".encode())
        os.close(ledger)


def run_and_die(journal: str, ledger: str, id_: str, refused: str, last: str) -> None:
    """Run an order up to the point of this name, such as "after do:charge", and no further."""

    def die(when: When, key: str) -> None:
        passed.append(f"{when} {key}")
        if " ".join(passed).endswith(last):
            os.kill(os.getpid(), signal.SIGKILL)

    passed: list[str] = []
    probe.set(die)
    Order(Path(ledger), refused == "refused").run_sync(7, id=id_, journal=SQLiteJournal(journal))


if __name__ == "__main__":
    run_and_die(*sys.argv[1:])
