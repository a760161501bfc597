"""What came of a simulation: figures, their course in time, and a picture of it in plain text."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from .. import _checks
from ..errors import Rejected, TimedOut

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
"""Characters of a course in time."""

_THREE_DIGITS = 100

_SHOWN = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Tick:
    """A short time of a simulation.

    Attributes:
        begin: When it began, in seconds since the start.
        end: When it ended.
        calls: Calls that began in it.
        requests: Requests that were made in it, repeated ones included.
        answered: Calls that got their answer in it.
        refused: Calls that a policy refused in it.
        timed_out: Calls that a timeout cut off in it.
        failed: Calls that ended with any other error in it.
        running: Calls under way at its end.
        p50: The median latency of its answers, in seconds; `None` if there were none.
        p99: The latency that 99 % of them did not exceed.
    """

    begin: float
    end: float
    calls: int
    requests: int
    answered: int
    refused: int
    timed_out: int
    failed: int
    running: int
    p50: float | None
    p99: float | None

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.answered / (self.end - self.begin)

    @property
    def load(self) -> float:
        """Requests a second."""
        return self.requests / (self.end - self.begin)

    @property
    def success(self) -> float | None:
        """The share of the calls that ended in it that were answered; `None` if none ended and none was under way."""
        ended = self.answered + self.refused + self.timed_out + self.failed
        return self.answered / ended if ended else 0.0 if self.running else None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a simulation. Printed, it is a table and its course in time.

    Attributes:
        seconds: How long it lasted, in virtual time.
        calls: How many calls were begun.
        requests: How many requests they made.
        errors: How many calls ended with which type of error.
        unfinished: How many calls were under way at the end.
        latencies: Seconds that each answered call took, from its beginning to its answer, in ascending order.
        ticks: Its course in time.
    """

    seconds: float
    calls: int
    requests: int
    errors: Mapping[type[BaseException], int]
    unfinished: int
    latencies: "array[float]"
    ticks: tuple[Tick, ...]

    @property
    def answered(self) -> int:
        """How many calls were answered."""
        return len(self.latencies)

    @property
    def refused(self) -> int:
        """How many calls a policy refused."""
        return count_of(self.errors, "refused")

    @property
    def timed_out(self) -> int:
        """How many calls a timeout cut off."""
        return count_of(self.errors, "timed out")

    @property
    def failed(self) -> int:
        """How many calls ended with any other error."""
        return count_of(self.errors, "failed")

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    @property
    def amplification(self) -> float:
        """Requests per call: 1 without retries and hedges, less where calls are refused."""
        return self.requests / self.calls if self.calls else 0.0

    def quantile(self, share: float) -> float | None:
        """The latency that a share of the answered calls did not exceed.

        Args:
            share: From 0 to 1.

        Returns:
            Seconds; `None` if no call was answered.

        Raises:
            TypeError: `share` is no number.
            ValueError: `share` is not from 0 to 1.
        """
        return quantile_of(self.latencies, _checks.number("share", share, least=0.0, most=1.0))

    def recovery(self, since: float, *, success: float = 0.95) -> float | None:
        """How long it took until all was well for good.

        Well is a tick in which at least a share `success` of the calls that ended were answered; for good, if so are
        all after it, to the end.

        Args:
            since: When the trouble was over, in seconds since the start.
            success: The share, from 0 to 1. Default 0.95.

        Returns:
            Seconds from `since`, exact to a tick; `None` if it was not well at the end.

        Raises:
            TypeError: A parameter is no number.
            ValueError: A parameter is out of its range.
        """
        since = _checks.number("since", since, least=0.0, most=self.seconds)
        least = _checks.number("success", success, above=0.0, most=1.0)
        well: float | None = None
        for tick in reversed(self.ticks):
            if tick.end <= since or (tick.success is not None and tick.success < least):
                break
            well = max(0.0, tick.begin - since)
        return well

    def __str__(self) -> str:
        asked = self.calls / self.seconds
        times = [f"p{100 * share:g} {_brief(self.quantile(share))}" for share in _SHOWN]
        lines = [
            f"{self.calls:,} calls in {self.seconds:g} s, {asked:,.1f} a second; {self.goodput:,.1f} a second answered",
            "",
            *self._endings(),
            "",
            f"latency of answers  {', '.join(times)}",
            f"requests per call   {self.amplification:.2f}",
            "",
            _course("calls/s", [tick.calls / (tick.end - tick.begin) for tick in self.ticks]),
            _course("requests/s", [tick.load for tick in self.ticks]),
            _course("answered/s", [tick.goodput for tick in self.ticks]),
            _course("running", [tick.running for tick in self.ticks]),
            _course("p99, s", [tick.p99 or 0.0 for tick in self.ticks]),
        ]
        return "\n".join(lines)

    def _endings(self) -> list[str]:
        rows = [("answered", self.answered)]
        ordered = sorted(self.errors.items(), key=lambda item: (-item[1], item[0].__name__))
        rows += [(f"{_class_of(kind)}, {kind.__name__}", many) for kind, many in ordered]
        rows += [("unfinished", self.unfinished)]
        return [f"{what:<30} {many:>12,}  {many / max(self.calls, 1):7.2%}" for what, many in rows if many]


def quantile_of(ascending: Sequence[float], share: float) -> float | None:
    """The least of some values that a share of them does not exceed."""
    return ascending[max(0, ceil(share * len(ascending)) - 1)] if ascending else None


def count_of(errors: Mapping[type[BaseException], int], ending: str) -> int:
    """How many calls ended so: "refused", "timed out" or "failed"."""
    return sum(many for kind, many in errors.items() if _class_of(kind) == ending)


def sparkline(values: Sequence[float], most: float) -> str:
    """Values as bars of text, from 0 to `most`."""
    steps = [most * (bar + 1) / len(_BARS) for bar in range(len(_BARS) - 1)]
    return "".join(_BARS[bisect_left(steps, value)] for value in values)


def _class_of(kind: type[BaseException]) -> str:
    if issubclass(kind, Rejected):
        return "refused"
    return "timed out" if issubclass(kind, TimedOut) else "failed"


def _course(name: str, values: Sequence[float]) -> str:
    shown = list(_thinned(values))
    most = max(shown, default=0.0)
    return f"{name:<11} {sparkline(shown, most)} up to {f'{most:.3g}' if most < _THREE_DIGITS else f'{most:,.0f}'}"


def _thinned(values: Sequence[float]) -> Iterable[float]:
    """At most so many values as fit on a line, each the mean of its neighbours."""
    width = min(_WIDTH, len(values))
    for place in range(width):
        some = values[place * len(values) // width : (place + 1) * len(values) // width]
        yield sum(some) / len(some)


def _brief(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3g} s"
