"""What the tests of timeouts share: a run in virtual time that leaves nothing behind, and the events of a block."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import strategies as st

from resilience._ambient import ambient
from resilience._events import Event, listen
from resilience.testing import VirtualClock, sandbox

both_loops = pytest.mark.parametrize("backend", ["asyncio", "trio"])

MOMENTS = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
"""Few enough to meet often, and exact in binary."""


class Stop(BaseException):
    """An ending that is no `Exception`, and that nobody knows."""


ENDINGS = [ValueError, TimeoutError, KeyboardInterrupt, SystemExit, GeneratorExit, Stop]


@contextmanager
def heard() -> Iterator[list[Event]]:
    """The events of the block."""
    events: list[Event] = []
    with listen(events.append):
        yield events


def virtually(backend: str, main: Callable[[VirtualClock], Awaitable[Any]]) -> Any:
    """Run in virtual time, and see that no deadline and no cancellation is left over."""
    with sandbox() as time:

        async def run() -> Any:
            result = await main(time)
            assert ambient.get() is None
            if backend == "asyncio":
                assert asyncio.current_task().cancelling() == 0
            await checkpoint()  # a cancellation that was left over would come here
            return result

        return anyio.run(run, backend=backend)
