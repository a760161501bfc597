"""What surrounds a call may be faulty, its SDK or its exceptions: the call goes on as if nobody looked."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import opentelemetry.trace as api
import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

from resilience import Bulkhead, CircuitBreaker, Pipeline, Rejected, TimedOut, fallback, retry, timeout
from resilience._telemetry import _current
from resilience.testing import sandbox
from tests.sdk import Sdk, facts, forget_providers


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Whatever happens in a call, afterwards no span and no scope of it is left in this thread."""
    forget_providers()
    yield
    assert api.get_current_span() is api.INVALID_SPAN
    assert _current.get() is None
    forget_providers()


class FaultyProcessor(SpanProcessor):
    """Raises when a span starts, or ends."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at == "start":
            raise RuntimeError("in the user's processor")

    def on_end(self, span: Any) -> None:
        if self.at == "end":
            raise RuntimeError("in the user's processor")


class FaultySampler(Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("in the user's sampler")

    def get_description(self) -> str:
        return "faulty"


def faulty(at: str) -> Sdk:
    sdk = Sdk(metrics=True)
    if at == "sampler":
        sdk.provider.sampler = FaultySampler()
    else:
        sdk.provider.add_span_processor(FaultyProcessor(at))
    return sdk.install()


@pytest.mark.parametrize("at", ["start", "end", "sampler"])
def test_an_sdk_that_raises_changes_nothing(at: str, caplog: pytest.LogCaptureFixture) -> None:
    faulty(at)
    breaker, calls = CircuitBreaker(trip=1), 0

    @Pipeline(retry(on=RuntimeError, wait=0), breaker, name="x")
    def work() -> str:
        nonlocal calls
        calls += 1
        return "done"

    assert (work(), calls, breaker.state) == ("done", 1, "closed")
    assert "OpenTelemetry raised" in caplog.text
    assert {record.name for record in caplog.records if record.exc_info} == {"resilience"}


def test_an_sdk_that_raises_after_a_wait_takes_no_place_for_ever() -> None:
    faulty("end")
    bulkhead = Bulkhead(1, max_wait=5)
    lease = bulkhead.admit()
    entered = threading.Thread(target=lambda: Pipeline(bulkhead, name="x").call(divmod, 7, 2))
    entered.start()
    while not bulkhead.stats.waiting:
        pass
    lease.release()
    entered.join()
    assert bulkhead.stats.in_use == 0


def test_inside_an_exporter_nothing_is_traced() -> None:
    sdk = Sdk(metrics=True).install()
    token = otel_context.attach(otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        Pipeline(retry(on=OSError), name="exporter").call(divmod, 7, 2)
    finally:
        otel_context.detach(token)
    assert sdk.spans == []
    assert sdk.points("resilience.call.duration")[facts(policy="exporter", outcome="success")].count == 1


class QuotaError(Rejected):
    """A refusal of the user's that does not call our `__init__`."""

    def __init__(self) -> None:
        Exception.__init__(self, "over quota")


class PoserError(Exception):
    @property
    def __class__(self) -> Any:  # type: ignore[override]  # that is the point
        raise RuntimeError("who am I?")


class Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in {"__qualname__", "__module__"}:
            raise RuntimeError("I have no name")
        return super().__getattribute__(name)


class NamelessError(Exception, metaclass=Nameless):
    pass


class Short(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise ValueError("how long?")

    def __getitem__(self, at: Any) -> str:
        raise ValueError("which part?")


class ShortError(Exception):
    def __str__(self) -> str:
        return Short("text")


HOSTILE: list[Callable[[], Exception]] = [
    QuotaError,
    PoserError,
    NamelessError,
    ShortError,
    lambda: ValueError("bad \udcff"),
]


@pytest.mark.parametrize("make", HOSTILE, ids=["quota", "poser", "nameless", "short", "surrogate"])
def test_a_hostile_exception_comes_out_as_it_is_and_its_span_ends(make: Callable[[], Exception]) -> None:
    sdk, error = Sdk(metrics=True).install(), make()

    def work() -> None:
        raise error

    caught: list[BaseException] = []
    try:
        Pipeline(name="x").call(work)
    except BaseException as out:
        caught.append(out)
    assert caught[0] is error
    (span,) = sdk.spans
    assert (span.attributes or {})["error.type"]
    text = span.status.description or ""
    assert text.encode().decode() == text


def test_of_a_long_text_the_beginning_is_kept() -> None:
    sdk = Sdk().install()

    def work() -> None:
        raise ValueError("x" * 10_000)

    with pytest.raises(ValueError, match="x"):
        Pipeline(name="x").call(work)
    assert len(sdk.named("x").status.description or "") == 1_000


def test_work_left_behind_is_counted_though_nobody_holds_the_timeout() -> None:
    sdk = Sdk(metrics=True).install()
    hang, ended = threading.Event(), threading.Event()

    def request() -> None:
        with pytest.raises(TimedOut) as caught:
            timeout(5, sync="abandon", name="inline").call(hang.wait)
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())

    with sandbox():
        request()
        gc.collect()
        assert sdk.points("resilience.timeout.abandoned")[facts(policy="inline")] == 1
        hang.set()
        ended.wait()


def test_a_fallback_answers_for_its_own_call_only() -> None:
    sdk = Sdk(metrics=True).install()

    def down() -> str:
        raise OSError

    inner = Pipeline(fallback("instead", on=OSError), name="inner").bind(down)
    assert Pipeline(name="outside of it").call(inner) == "instead"
    outcomes = [dict(key)["resilience.outcome"] for key in sdk.points("resilience.call.duration")]
    assert outcomes == ["success"]


def test_what_is_logged_of_a_faulty_sdk_may_fail_as_well() -> None:
    faulty("end")
    logger = logging.getLogger("resilience")

    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger.addFilter(broken)
    try:
        assert Pipeline(name="x").call(divmod, 7, 2) == (3, 1)
    finally:
        logger.removeFilter(broken)
