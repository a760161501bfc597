"""To be seen changes nothing: the same calls, with and without an SDK, are the same in all that can be observed."""

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience import Bulkhead, CircuitBreaker, Pipeline, Policy, events, fallback, listen, retry, timeout
from resilience.testing import VirtualClock, sandbox
from tests.sdk import Sdk, forget_providers

LAYERS: dict[str, Callable[[], Any]] = {
    "fallback": lambda: fallback("instead", on=KeyError),
    "timeout": lambda: timeout(50, sync="deadline"),
    "retry": lambda: retry(on=(OSError, TimeoutError), attempts=3),
    "breaker": lambda: CircuitBreaker(trip=3, cooldown=20),
    "bulkhead": lambda: Bulkhead(1),
    "attempt timeout": lambda: timeout(5, sync="deadline"),
}
OUTCOMES: dict[str, Callable[[], BaseException | None]] = {
    "fine": lambda: None,
    "down": lambda: ConnectionError("down"),
    "wrong": lambda: KeyError("wrong"),
    "interrupted": lambda: KeyboardInterrupt(),
    "several": lambda: ExceptionGroup("several", [OSError(), TimeoutError()]),
}
PIPELINES = st.lists(st.sampled_from(list(LAYERS)), unique=True).map(
    lambda names: sorted(names, key=list(LAYERS).index)
)
SCRIPTS = st.lists(
    st.lists(st.tuples(st.sampled_from(list(OUTCOMES)), st.sampled_from([0, 1, 8, 30])), min_size=3, max_size=3),
    min_size=1,
    max_size=5,
)
Told = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def no_provider() -> Iterator[None]:
    """Each test begins and ends without an SDK."""
    forget_providers()
    yield
    forget_providers()


@pytest.mark.filterwarnings("ignore::resilience.ResilienceWarning")
@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize(
    "listeners", [{"traces": True}, {"metrics": True, "traces": False}, {"metrics": True}], ids=str
)
@given(names=PIPELINES, script=SCRIPTS)
def test_with_and_without_a_listener_the_same_happens(
    way: str, listeners: dict[str, bool], names: list[str], script: list[list[tuple[str, int]]]
) -> None:
    forget_providers()
    unseen = story(way, names, script)
    Sdk(**listeners).install()
    assert story(way, names, script) == unseen


def story(way: str, names: list[str], script: list[list[tuple[str, int]]]) -> Told:
    """Make the calls of the script, and tell everything that can be seen of them."""
    told: Told = []
    with sandbox() as time:
        layers = [LAYERS[name]() for name in names]
        pipeline = Pipeline(*layers, name="x")

        def hear(event: events.Event) -> None:
            told.append((type(event).__name__, round(time.elapsed, 6), event.policy))

        with listen(hear):
            for call in script:
                told.append((*outcome(way, pipeline, call, time), round(time.elapsed, 6)))
                told.extend(
                    (layer.state, layer.stats.failures) for layer in layers if isinstance(layer, CircuitBreaker)
                )
                told.extend((layer.stats,) for layer in layers if isinstance(layer, Bulkhead))
    return told


def outcome(way: str, pipeline: Policy, call: list[tuple[str, int]], time: VirtualClock) -> tuple[Any, ...]:
    """How one call ends; its attempts go by the script."""
    attempts = iter(call)
    raised: list[BaseException] = []

    def work() -> str:
        ending, took = next(attempts)
        time.advance(took)
        if (error := OUTCOMES[ending]()) is not None:
            raised.append(error)
            raise error
        return "fine"

    async def awork() -> str:
        return work()

    try:
        result = pipeline.call(work) if way == "sync" else anyio.run(pipeline.acall, awork, backend=way)
    except BaseException as error:
        own = [index for index, one in enumerate(raised) if one is error]
        context = type(error.__context__).__name__, type(error.__cause__).__name__
        return type(error).__name__, str(error), own, getattr(error, "__notes__", []), context
    return ("returned", result)
