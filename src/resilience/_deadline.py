"""`deadline`: tell everything that runs inside how much time it has. It announces, and never cuts.

The counterpart that cuts is `timeout`; what reads the announcement is in `_ambient`. This module knows nothing of
functions: a deadline is a block.
"""

from contextvars import Token
from types import TracebackType
from typing import NoReturn, Self

from . import _checks
from ._ambient import Deadline, ambient, nearest, withdraw
from ._clock import clock


class deadline:
    """Announce to the block how much time it has.

    Nothing is cut off. But every policy inside sees it: no attempt, sleep or queue wait starts that cannot end in time
    (`OutOfTime`), and a `timeout` inside cuts no later than this. Of nested deadlines the nearest counts.

    Use it with a plain `with`, in sync and async functions alike, each object once.

    ```python
    with deadline(2.0):
        httpx.get(url, timeout=remaining(at_most=1.0))
    ```

    Args:
        seconds: From entering the block on: seconds or a `timedelta`; 0 for time that is up already.

    Raises:
        TypeError: `seconds` is no duration, or `async with` was written (`async with timeout(2).guard()` cuts off).
        ValueError: `seconds` is negative or not finite.
        RuntimeError: It was entered before.
    """

    __slots__ = ("_announced", "_seconds")

    def __init__(self, seconds: _checks.Seconds, /) -> None:
        self._seconds = _checks.seconds("seconds", seconds, zero=True)
        self._announced: Token[Deadline | None] | None = None

    def __enter__(self) -> Self:
        if self._announced is not None:
            raise RuntimeError(f"this deadline was entered before; write 'with deadline({self._seconds:g}):' anew")
        self._announced = ambient.set(nearest(clock.now() + self._seconds, enforced=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._announced is not None:
            withdraw(self._announced)

    def __aenter__(self) -> NoReturn:
        raise TypeError(
            "deadline announces and never cuts off, so it is a plain 'with', also in async functions: "
            f"'with deadline({self._seconds:g}):'. To cut the block off, write "
            f"'async with timeout({self._seconds:g}).guard():'"
        )

    def __aexit__(self, *_: object) -> NoReturn:
        raise NotImplementedError  # never reached; without it, Python would not ask `__aenter__`
