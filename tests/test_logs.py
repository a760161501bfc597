"""What the logger `resilience` says, and which call it says it of, whatever else has a hand in logging."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import opentelemetry.trace as api
import pytest
import structlog
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.trace import format_span_id, format_trace_id

from resilience import CircuitBreaker, TimedOut, events, listen, timeout
from resilience.testing import sandbox
from tests.sdk import Sdk, forget_providers


class Heard(logging.Handler):
    """Every record of the logger `resilience`."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.records]

    @property
    def ids(self) -> list[tuple[str, str]]:
        return [(record.trace_id, record.span_id) for record in self.records]


def heard_by(handler: Any) -> Iterator[Any]:
    logger = logging.getLogger("resilience")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def heard() -> Iterator[Heard]:
    yield from heard_by(Heard())


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    yield Sdk().install()
    forget_providers()


@pytest.fixture
def bank(request: pytest.FixtureRequest) -> CircuitBreaker:
    """A breaker of this test alone: two of one name would be a warning."""
    return CircuitBreaker(request.node.name, trip=1)


def ids_of(span: Any) -> tuple[str, str]:
    context = span.get_span_context()
    return format_trace_id(context.trace_id), format_span_id(context.span_id)


def fail() -> None:
    raise ConnectionError("it is down")


async def afail() -> None:
    fail()


def open_it(breaker: CircuitBreaker, way: str = "sync") -> None:
    call = partial(breaker.call, fail) if way == "sync" else partial(anyio.run, breaker.acall, afail, backend=way)
    with pytest.raises(ConnectionError):
        call()


def test_the_life_of_a_breaker_in_the_log(heard: Heard) -> None:
    with sandbox() as time:
        breaker = CircuitBreaker("bank", trip=1, cooldown=10, jitter=0)
        open_it(breaker)
        time.advance(10)
        breaker.call(divmod, 7, 2)
        breaker.isolate()
    assert [level for level, _ in heard.said] == ["WARNING", "INFO", "WARNING"]
    opened, closed, isolated = (text for _, text in heard.said)
    assert opened.startswith("circuit breaker bank: closed -> open, 1 failure in a row")
    assert closed.startswith("circuit breaker bank: half_open -> closed")
    assert isolated.startswith("circuit breaker bank: closed -> isolated")
    assert heard.ids == [("", "")] * 3


@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_a_record_carries_the_span_of_the_call_that_it_is_about(
    bank: CircuitBreaker, heard: Heard, sdk: Sdk, way: str
) -> None:
    open_it(bank, way)
    assert heard.ids == [ids_of(sdk.named(str(bank.name)))]


def test_work_left_behind_is_said_of_the_call_that_left_it(heard: Heard, sdk: Sdk) -> None:
    hang, ended = threading.Event(), threading.Event()
    with sandbox():
        with pytest.raises(TimedOut) as caught:
            timeout(5, sync="abandon", name="cut").call(hang.wait)
        assert caught.value.work is not None
        caught.value.work.add_done_callback(lambda _: ended.set())
        hang.set()
        ended.wait()
    assert heard.said == [("WARNING", "timeout cut: work was left behind after 5 s; 1 such still run")]
    assert heard.ids == [ids_of(sdk.named("cut"))]


def test_it_is_the_span_of_the_cause_also_where_another_thread_tells(heard: Heard, sdk: Sdk) -> None:
    breaker = CircuitBreaker("told elsewhere", trip=1)
    telling, go_on = threading.Event(), threading.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.StateChanged) and event.after == "open":
            telling.set()
            go_on.wait()

    with listen(hear):
        opener = threading.Thread(target=open_it, args=(breaker,))
        opener.start()
        telling.wait()
        with api.get_tracer("user").start_as_current_span("operator"):
            breaker.isolate()
        assert len(heard.records) == 1  # the opener is busy telling, and will tell this as well
        go_on.set()
        opener.join()
    assert heard.ids == [ids_of(sdk.named("told elsewhere")), ids_of(sdk.named("operator"))]
    assert heard.records[1].threadName == heard.records[0].threadName


@pytest.fixture
def factory() -> Iterator[Callable[[Any], None]]:
    before = logging.getLogRecordFactory()
    yield logging.setLogRecordFactory
    logging.setLogRecordFactory(before)


def test_a_record_factory_of_the_users_may_set_the_same(
    bank: CircuitBreaker, heard: Heard, sdk: Sdk, factory: Any
) -> None:
    usual = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = usual(*args, **kwargs)
        record.trace_id = "mine"
        return record

    factory(make)
    open_it(bank)
    assert heard.ids == [ids_of(sdk.named(str(bank.name)))]


def test_beside_the_instrumentation_of_logging(bank: CircuitBreaker, heard: Heard, sdk: Sdk) -> None:
    instrumentor = LoggingInstrumentor()
    instrumentor.instrument(inject_trace_context=True)
    try:
        open_it(bank)
    finally:
        instrumentor.uninstrument()
    assert heard.ids == [ids_of(sdk.named(str(bank.name)))]
    (record,) = heard.records
    assert (record.otelTraceID, record.otelSpanID) == heard.ids[0]


def test_a_format_may_name_them(bank: CircuitBreaker, sdk: Sdk) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(trace_id)s/%(span_id)s %(message)s"))
    for _ in heard_by(handler):
        open_it(bank)
    trace, span = ids_of(sdk.named(str(bank.name)))
    assert written.getvalue().startswith(f"WARNING {trace}/{span} circuit breaker {bank.name}: closed -> open")


def test_structlog_renders_message_level_and_trace(bank: CircuitBreaker, sdk: Sdk) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(["trace_id", "span_id"])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    for _ in heard_by(handler):
        open_it(bank)
    trace, span = ids_of(sdk.named(str(bank.name)))
    line = json.loads(written.getvalue())
    assert line.pop("event").startswith(f"circuit breaker {bank.name}: closed -> open")
    assert line == {"level": "warning", "trace_id": trace, "span_id": span}


class Sealed(logging.LogRecord):
    """A record class of the user's that has a trace id of its own, and does not let it be set."""

    @property
    def trace_id(self) -> str:
        return "mine"


def test_a_record_that_has_its_own_ids_keeps_them(bank: CircuitBreaker, heard: Heard, factory: Any) -> None:
    factory(Sealed)
    bank.isolate()
    assert [getattr(record, "trace_id", None) for record in heard.records] == ["mine"]


@pytest.mark.parametrize("told", ["of the change", "of a listener that failed"])
def test_a_filter_that_raises_does_not_end_the_call(
    bank: CircuitBreaker, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError("in the user's filter")

    def failing(event: events.Event) -> None:
        raise KeyError

    logger = logging.getLogger("resilience")
    logger.addFilter(broken)
    try:
        if told == "of the change":
            bank.isolate()
        else:
            with listen(failing):
                bank.isolate()
    finally:
        logger.removeFilter(broken)
    assert bank.state == "isolated"
    assert "in the user's filter" in capsys.readouterr().err
