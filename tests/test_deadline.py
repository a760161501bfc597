"""`deadline`: what it takes, what it announces, and that it never cuts."""

import contextvars
import math
from datetime import timedelta
from typing import Any

import pytest

from resilience._ambient import remaining
from resilience._clock import clock
from resilience._deadline import deadline
from resilience.testing import sandbox


@pytest.mark.parametrize("seconds", [2, 2.0, timedelta(seconds=2)])
def test_a_deadline_is_seconds_or_a_timedelta(seconds: Any) -> None:
    with sandbox(), deadline(seconds):
        assert remaining() == 2.0


@pytest.mark.parametrize(
    ("seconds", "error", "says"),
    [
        ("2", TypeError, "seconds must be seconds .* got '2'"),
        (True, TypeError, "got True"),
        (None, TypeError, "got None"),
        (-0.1, ValueError, "seconds must be at least 0, got -0.1"),
        (math.nan, ValueError, "seconds must be a finite number, got nan"),
        (math.inf, ValueError, "seconds must be a finite number, got inf"),
    ],
)
def test_senseless_arguments_are_refused_by_name(seconds: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        deadline(seconds)


def test_the_nearest_deadline_counts() -> None:
    with sandbox() as time:
        with deadline(5.0):
            with deadline(2.0):
                assert remaining() == 2.0
            with deadline(9.0):
                assert remaining() == 5.0
            time.advance(7.0)
            assert remaining() == 0.0
            with deadline(1.0):
                assert remaining() == 0.0
        assert remaining() is None


def test_time_that_is_up_is_a_deadline_too() -> None:
    with sandbox(), deadline(0):
        assert remaining() == 0.0


@pytest.mark.law(92)
@pytest.mark.anyio
async def test_it_works_in_coroutine_functions_and_never_cuts(anyio_backend_name: str) -> None:
    with sandbox() as time:
        with deadline(1.0):
            await clock.asleep(3.0)
            assert remaining() == 0.0
        assert time.elapsed == 3.0


@pytest.mark.law(92)
@pytest.mark.anyio
async def test_async_with_points_to_a_timeout(anyio_backend_name: str) -> None:
    with pytest.raises(TypeError, match=r"async with timeout\(2\).guard\(\)"):
        async with deadline(2.0):  # type: ignore[attr-defined]  # it is the mistake to catch
            pass


def test_a_deadline_is_entered_once() -> None:
    once = deadline(2.0)
    with once:
        pass
    with pytest.raises(RuntimeError, match=r"entered before; write 'with deadline\(2\):' anew"), once:
        pass


def test_leaving_in_another_context_is_harmless() -> None:
    block = deadline(2.0)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert remaining() is None
