"""Rules about shares: how many of the last calls may fail, or be slow.

Values, not machinery: frozen, comparable, picklable. Whoever judges the health of a service takes them; the counting is
done in `_core.windows`, which reads nothing but their attributes. They know of no policy.
"""

from dataclasses import dataclass

from . import _checks

_CALLS = 100
_MINIMUM = 20


@dataclass(frozen=True, slots=True, init=False)
class _Rate:
    """A share of the calls in a window.

    Attributes:
        ratio: The share that is too much.
        calls: The window, if it is the last so many calls; else `None`.
        seconds: The window, if it is the last so many seconds; else `None`.
        minimum: The fewest calls in the window that can be judged.
    """

    ratio: float
    calls: int | None
    seconds: float | None
    minimum: int

    def _set(self, ratio: float, calls: int | None, seconds: _checks.Seconds | None, minimum: int | None) -> None:
        if calls is not None and seconds is not None:
            raise TypeError(f"a window is either calls or seconds, got both: calls={calls!r}, seconds={seconds!r}")
        size = None if seconds is not None else _checks.whole("calls", _CALLS if calls is None else calls)
        least = min(_MINIMUM, size or _MINIMUM) if minimum is None else _checks.whole("minimum", minimum)
        if size is not None and least > size:
            raise ValueError(
                f"minimum must be at most calls={size}, got {minimum!r}: the window never holds more calls than that"
            )
        # Frozen for everybody else: object.__setattr__ is how a frozen dataclass fills itself.
        object.__setattr__(self, "ratio", _checks.number("ratio", ratio, above=0.0, most=1.0))
        object.__setattr__(self, "calls", size)
        object.__setattr__(self, "seconds", _checks.seconds_or_none("seconds", seconds))
        object.__setattr__(self, "minimum", least)

    def _window(self) -> str:
        return f"the last {self.calls} calls" if self.seconds is None else f"the last {self.seconds:g} s"


@dataclass(frozen=True, slots=True, init=False)
class FailureRate(_Rate):
    """Too many of the calls in a window failed.

    The rule is met by a failure that brings `failures / calls` in the window to `ratio` or above (>=), once the window
    holds `minimum` calls. A success never meets it.

    Args:
        ratio: The share of failures that is too much: above 0, at most 1.
        calls: The window is the last so many calls. Default 100, unless `seconds` is given.
        seconds: The window is the last so many seconds (a number or `timedelta`). An outcome counts for at least 99 %
            of them and never longer.
        minimum: The fewest calls in the window that can be judged. Default 20, or `calls` where that is less.

    Raises:
        TypeError: Both `calls` and `seconds` were given, or one has the wrong type.
        ValueError: A number is out of range, or `minimum` is more than `calls`.
    """

    def __init__(
        self,
        ratio: float,
        *,
        calls: int | None = None,
        seconds: _checks.Seconds | None = None,
        minimum: int | None = None,
    ) -> None:
        self._set(ratio, calls, seconds, minimum)

    @property
    def slower_than(self) -> None:
        """No call is too slow for this rule."""
        return

    def __str__(self) -> str:
        return f"{self.ratio:.0%} of {self._window()} failed"


@dataclass(frozen=True, slots=True, init=False)
class SlowRate(_Rate):
    """Too many of the calls in a window were slow, whether they succeeded or failed.

    The rule is met by a slow call that brings `slow / calls` in the window to `ratio` or above (>=), once the window
    holds `minimum` calls.

    Args:
        ratio: The share of slow calls that is too much: above 0, at most 1.
        slower_than: A call is slow that took longer than this, in seconds (a number or `timedelta`).
        calls: The window is the last so many calls. Default 100, unless `seconds` is given.
        seconds: The window is the last so many seconds (a number or `timedelta`). An outcome counts for at least 99 %
            of them and never longer.
        minimum: The fewest calls in the window that can be judged. Default 20, or `calls` where that is less.

    Raises:
        TypeError: Both `calls` and `seconds` were given, or one has the wrong type.
        ValueError: A number is out of range, or `minimum` is more than `calls`.
    """

    slower_than: float

    def __init__(
        self,
        ratio: float,
        *,
        slower_than: _checks.Seconds,
        calls: int | None = None,
        seconds: _checks.Seconds | None = None,
        minimum: int | None = None,
    ) -> None:
        self._set(ratio, calls, seconds, minimum)
        object.__setattr__(self, "slower_than", _checks.seconds("slower_than", slower_than))

    def __str__(self) -> str:
        return f"{self.ratio:.0%} of {self._window()} took longer than {self.slower_than:g} s"
