"""What the rules of a journal are tried with: journals, as many processes as needed, and exact comparisons."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .._clock import SystemClock
from ._journal import Journal, Opened, Row
from ._pending import Pending

SOON = 10.0
"""Real seconds to wait for what must come within 0.2 s: a busy machine is no reason to find a journal guilty."""

_LONGEST = 300
"""Characters of a value in a message."""

_real = SystemClock()


class Bench:
    """Makes journals, and closes them in the end.

    Args:
        make: Makes a new, empty journal.
        another: Opens the store of a journal once more, as another process would; also after it was closed.
        kill: Ends a journal as if its process had been killed; `None`: a rule that needs it closes it instead.
    """

    def __init__(
        self, make: Callable[[], Journal], another: Callable[[Any], Journal], kill: Callable[[Any], object] | None
    ) -> None:
        self._make = make
        self._another = another
        self._kill = kill or _close
        self._opened = contextlib.ExitStack()

    def fresh(self) -> Journal:
        """A new, empty journal."""
        return self._keep(self._make())

    def two(self) -> tuple[Journal, Journal]:
        """Two owners over one new store."""
        first = self.fresh()
        return first, self.another(first)

    def another(self, journal: Journal) -> Journal:
        """Another owner over the same store."""
        return self._keep(self._another(journal))

    def kill(self, journal: Journal) -> None:
        """End it as if its process had been killed."""
        self._kill(journal)

    def close(self) -> None:
        """Close all that was made."""
        self._opened.close()

    def _keep(self, journal: Journal) -> Journal:
        self._opened.callback(journal.close)
        return journal


class Bell:
    """Hears what a watched journal tells."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self._rings = threading.Lock()
        self._rings.acquire()

    def __call__(self, ids: set[str]) -> None:
        self.heard |= ids
        with contextlib.suppress(RuntimeError):  # it rings already
            self._rings.release()

    def wait_for(self, id_: str) -> None:
        """Wait until this id was told."""
        ends = _real.now() + SOON
        while id_ not in self.heard:
            if not _real.acquire(self._rings, ends - _real.now()):
                wrong(
                    f"{SOON:g} s after a letter to {id_!r}, its owner's watcher had heard of {self.heard or 'nothing'}"
                )


def begun(journal: Journal, id_: str = "a", saga: str = "Trip", body: bytes = b"start") -> Opened:
    """Begin a saga."""
    return journal.start(id_, saga, body).wait()


def opened(journal: Journal, id_: str = "a", body: bytes | None = b"resumed") -> Opened:
    """Open a saga that is there."""
    found = journal.open(id_, body).wait()
    return wrong(f"open({id_!r}) finds no such saga") if found is None else found


def bodies(journal: Journal, id_: str = "a") -> list[bytes]:
    """The records of a saga, without their times."""
    return [row.body for row in rows(journal, id_)]


def rows(journal: Journal, id_: str = "a") -> list[Row]:
    """The records of a saga."""
    found = journal.read(id_).wait()
    return wrong(f"read({id_!r}) finds no such saga") if found is None else found


def same(found: object, expected: object, what: str) -> None:
    """Compare."""
    if found != expected:
        wrong(f"{what} is {_shown(found)}, not {_shown(expected)}")


def refused(what: str, call: Callable[[], Pending[Any]], *kinds: type[Exception]) -> Exception:
    """See that something is refused with one of these errors, by the call or by its answer; the error."""
    expected = " or ".join(kind.__name__ for kind in kinds)
    try:
        found = call().wait()
    except kinds as error:
        return error
    except Exception as error:
        raise AssertionError(f"{what} raises {error!r}, not {expected}") from error
    return wrong(f"{what} answers {_shown(found)}, and does not raise {expected}")


def together(calls: list[Callable[[], object]]) -> None:
    """Do several things in as many threads at once, and wait for them."""
    start = threading.Barrier(len(calls))
    errors: list[Exception] = []

    def run(call: Callable[[], object]) -> None:
        start.wait()
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def wrong(what: str) -> NoReturn:
    """A rule is broken."""
    raise AssertionError(what)


def each(count: int, name: str = "a") -> Iterator[str]:
    """So many ids."""
    return (f"{name}-{number}" for number in range(count))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _close(journal: Journal) -> None:
    journal.close()
