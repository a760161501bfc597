"""tenacity's vocabulary: `wait=` and `stop=` of a retry, as tenacity strategies.

Loaded with the first `retry` that is made, not with the package. tenacity's strategies decide; its loop is not used,
since a first attempt that succeeds should cost nothing.
"""

from collections.abc import Callable
from typing import Any, cast

from tenacity import Future, RetryCallState, Retrying
from tenacity.stop import stop_after_attempt, stop_any, stop_before_delay, stop_never
from tenacity.wait import wait_base, wait_fixed

from . import _checks
from ._clock import clock
from ._core.backoff import full_jitter

INITIAL = 0.1
MOST = 5.0

Wait = Callable[[RetryCallState], float | None]
Stop = Callable[[RetryCallState], bool]


class wait_full_jitter(wait_base):
    """Full-jitter exponential backoff on the library's own source of chance.

    Args:
        initial: The ceiling of the first wait, in seconds.
        most: The highest ceiling, in seconds.
    """

    def __init__(self, initial: float = INITIAL, most: float = MOST) -> None:
        self.initial = initial
        self.most = most

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        return full_jitter(retry_state.attempt_number, clock.random(), self.initial, self.most)


def strategies_from(wait: object, stop: object, attempts: int | None, max_elapsed: float | None) -> Retrying:
    """The strategies of a retry, the way they come with the state of a call: as its `retry_object`."""
    return Retrying(wait=cast("Any", wait_from(wait)), stop=stop_from(stop, attempts, max_elapsed))


def wait_from(wait: object) -> Wait:
    """`wait=`: seconds, a tenacity strategy, a function of the retry state, or `None` for the default."""
    if wait is None:
        return wait_full_jitter()
    if callable(wait):
        return cast("Wait", _checks.takes_one("wait", wait))
    return wait_fixed(_checks.seconds("wait", wait, zero=True))


def stop_from(stop: object, attempts: int | None, max_elapsed: float | None) -> Stop:
    """`stop=`, or what `attempts` and `max_elapsed` amount to."""
    if stop is not None:
        return cast("Stop", _checks.takes_one("stop", stop))
    after = stop_never if attempts is None else stop_after_attempt(attempts)
    return after if max_elapsed is None else stop_any(after, stop_before_delay(max_elapsed))


class CallState(RetryCallState):
    """One call that failed, as tenacity sees it, its times set from the library's clock."""

    _future: Future | None
    _ended: tuple[BaseException | None, object] | None

    def __init__(self, strategies: Retrying, started: float, fn: Any, args: Any, kwargs: Any) -> None:
        super().__init__(strategies, fn, args, kwargs)
        self.start_time = started

    @property
    def outcome(self) -> Future | None:
        """How the latest attempt ended, as a future: made for a strategy that asks, and few do."""
        if self._future is None and self._ended is not None:
            failure, result = self._ended
            self._future = Future.construct(
                self.attempt_number, result if failure is None else failure, failure is not None
            )
        return self._future

    @outcome.setter
    def outcome(self, outcome: Future | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - as read
        """As tenacity does between two attempts."""
        self._future, self._ended = outcome, None

    def note(self, failure: BaseException | None, result: object) -> None:
        """Take in how the latest attempt ended."""
        self._future, self._ended = None, (failure, result)
        self.outcome_timestamp = clock.now()
