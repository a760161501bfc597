"""What `docs/telemetry.md` promises is what is emitted, name by name, in both directions.

The tables of the page are read, and held against the declarations in the code, and against what the real SDK saw of one
busy afternoon in which everything happens that can happen.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from opentelemetry.sdk.metrics.export import Histogram, Metric, Sum
from opentelemetry.sdk.trace import ReadableSpan

from resilience import (
    AdaptiveBulkhead,
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    Chaos,
    CircuitBreaker,
    Hedge,
    Keyed,
    Pipeline,
    Policy,
    RateLimiter,
    Rejected,
    RetryBudget,
    SlowRate,
    TimedOut,
    _metrics,
    deadline,
    fallback,
    retry,
    timeout,
)
from resilience._clock import clock
from resilience._traits import Role, Traits
from resilience.saga import MemoryJournal, NoEffect, Saga, SagaError, step
from resilience.saga._letters import write_request
from resilience.testing import sandbox
from tests.sdk import Sdk, forget_providers

PAGE = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text(encoding="utf-8")
KINDS = ("call", "attempt", "wait", "left")
NAMED = re.compile(r"`([^`]+)`")


def table(*heads: str) -> list[list[str]]:
    """The rows of the one table whose header begins with these cells."""
    header = "| " + " | ".join(heads) + " |"
    (start,) = (at for at, line in enumerate(LINES) if line.startswith(header))
    rows = LINES[start + 2 :]
    end = next(at for at, line in enumerate(rows) if not line.startswith("|"))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[:end]]


LINES = PAGE.splitlines()
SPANS = table("span", "when", "parent")
ATTRIBUTES = table("attribute", *KINDS, "value")
METRICS = table("metric", "instrument", "unit", "attributes")
SAGA_KINDS = ("anchor", "run", "step", "undo")
SAGA_SPANS = table("span of a saga", "when", "parent")
SAGA_ATTRIBUTES = table("attribute of a saga's span", *SAGA_KINDS, "value")


class Own(Policy):
    """A policy of the user's."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return fn

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        return fn

    def traits(self) -> Traits:
        return Traits(Role.CUSTOM, "nothing")


@dataclass
class Deal(Saga[str, str]):
    """A saga that can end in every way."""

    trouble: str
    undos: list[str] = field(default_factory=list[str])

    @step
    def ask(self, what: str) -> str:
        return what

    @ask.undo(attempts=1)
    def unask(self, ask: str | None) -> None:
        if self.trouble == "stuck" and not self.undos:
            self.undos.append("one")
            raise OSError

    @step
    def sign(self, what: str) -> str:
        if self.trouble == "gone":
            raise KeyboardInterrupt
        if self.trouble == "refused":
            raise NoEffect
        if self.trouble:
            raise OSError
        return what


class Afternoon:
    """Everything that can happen."""

    def __init__(self) -> None:
        self.sdk = Sdk(metrics=True).install()
        with sandbox(autojump=False) as self.time:
            anyio.run(self.queues)
            anyio.run(self.turns)
            anyio.run(self.lookups)
            anyio.run(self.hedges)
        with sandbox() as self.time:
            self.outcomes()
            self.states()
            self.verdicts()
            self.waits()
            self.left_behind()
            self.sagas()
            self.metrics: dict[str, Metric] = self.sdk.metrics()
        spans = self.sdk.spans
        self.saga_spans = [span for span in spans if "resilience.saga.id" in (span.attributes or {})]
        self.spans = [span for span in spans if span not in self.saga_spans]

    def try_to(self, policy: Any, error: BaseException | None = None) -> None:
        def work() -> None:
            if error is not None:
                raise error

        with suppress(Exception, KeyboardInterrupt):
            policy.call(work)

    def outcomes(self) -> None:
        for policy in (
            Own("own"),
            retry(on=OSError, wait=0),
            timeout(1, sync="deadline"),
            Bulkhead(1),
            CircuitBreaker(),
            RateLimiter(1),
            Cache(60),
            AdaptiveThrottle(),
            Hedge(),
            AdaptiveBulkhead(),
            Chaos(rate=1.0, latency=1),
            Keyed(lambda _: Pipeline(), key=lambda: "one"),
        ):
            self.try_to(policy)
        for error in (None, ValueError(), TimedOut("inner", 1), KeyboardInterrupt()):
            self.try_to(Pipeline(retry(on=ValueError, wait=0, attempts=2)), error)
        self.keyed = Keyed(lambda _: Bulkhead(1), key=lambda: "one", name="by key")
        self.try_to(self.keyed)
        for options in ({"fault": OSError}, {"result": "plain"}, {"latency": 1}):
            with Chaos(rate=1.0, **options) as self.chaos:
                self.try_to(Pipeline(retry(on=OSError, attempts=2, wait=0), self.chaos))
                self.try_to(Pipeline(self.chaos))
        self.try_to(fallback("answer", on=OSError), OSError())

    def states(self) -> None:
        breaker = CircuitBreaker("promised", trip=1, cooldown=10, jitter=0)
        through = Pipeline(retry(on=Rejected, attempts=2, max_wait=1), breaker)
        self.try_to(through, OSError())
        self.try_to(through)
        self.try_to(breaker)
        self.time.advance(11)
        self.try_to(through)
        for verb in (breaker.isolate, breaker.disable, breaker.dry_run):
            verb()
            self.try_to(through)
        self.breaker = breaker  # its status is there for as long as it is

    def verdicts(self) -> None:
        breaker = CircuitBreaker("judge", trip=SlowRate(0.9, seconds=10, slower_than=1), ignore=KeyError)
        for error in (OSError(), KeyError(), KeyboardInterrupt()):
            breaker.admit().fail(error)
        lease = breaker.admit()
        self.time.advance(2)
        lease.succeed()

    async def queues(self) -> None:
        bulkhead = Bulkhead(1, max_wait=3, name="queue")

        async def use(seconds: float) -> None:
            with suppress(Rejected):
                await bulkhead.acall(clock.asleep, seconds)

        self.bulkhead = bulkhead
        for holds in (2, 5):
            async with anyio.create_task_group() as tasks:
                for seconds in (holds, 1):
                    tasks.start_soon(use, seconds)
                    await anyio.wait_all_tasks_blocked()
                for _ in range(6):
                    self.time.advance(1)
                    await anyio.wait_all_tasks_blocked()

    async def turns(self) -> None:
        """One gets its turn; the other's will be too late, since the rate has changed."""
        self.throttle = AdaptiveThrottle(name="shedding")
        self.limiter = limiter = RateLimiter(1, max_wait=3, name="slowly")

        async def use() -> None:
            with suppress(Rejected):
                await limiter.acall(clock.asleep, 0)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(use)
                await anyio.wait_all_tasks_blocked()
            self.time.advance(1)
            await anyio.wait_all_tasks_blocked()
            limiter.configure(0.01)

    async def lookups(self) -> None:
        """Two follow one, of whom one has no time left; then a hit; then an old answer, for there is no newer."""
        self.cache = Cache(5, stale_if_error=9, name="answers")
        failing: list[bool] = []

        async def fetch() -> str:
            await clock.asleep(1)
            if failing:
                raise OSError
            return "answer"

        guarded = self.cache(fetch)

        async def use(seconds: float) -> None:
            with suppress(Rejected), deadline(seconds):
                await guarded()

        async with anyio.create_task_group() as tasks:
            for seconds in (9, 9, 0.5):
                tasks.start_soon(use, seconds)
                await anyio.wait_all_tasks_blocked()
            for _ in range(2):
                self.time.advance(0.5)
                await anyio.wait_all_tasks_blocked()
        await use(9)
        self.time.advance(6)
        failing.append(True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, 9)
            await anyio.wait_all_tasks_blocked()
            self.time.advance(1)

    async def hedges(self) -> None:
        """A rival that wins, one that loses, one that the budget refuses."""
        self.hedge = Hedge(1, budget=RetryBudget(0, minimum_per_second=0.2), name="twice")

        async def fetch(seconds: list[float]) -> None:
            await clock.asleep(seconds.pop())

        for seconds in ([0.5, 9.0], [9.0, 1.5], [9.0, 1.5]):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.hedge.acall, fetch, seconds)
                for _ in range(2):
                    await anyio.wait_all_tasks_blocked()
                    self.time.advance(1)

    def waits(self) -> None:
        self.try_to(Pipeline(retry(on=OSError, wait=1), name="patient"), OSError())

    def sagas(self) -> None:
        """Three that end, one that is stuck and is settled, one that is stuck, and one whose process goes away."""
        journal = MemoryJournal()
        for trouble in ("", "refused", "broken", "stuck"):
            with suppress(SagaError):
                Deal(trouble).run_sync("a", id=trouble or "all is well", journal=journal)
        journal.send("stuck", "control", write_request("skip", reason="called them"), "ann").wait()
        with suppress(SagaError):
            Deal("stuck").run_sync("a", id="stuck", journal=journal)
        with suppress(SagaError):
            Deal("stuck").run_sync("a", id="stuck for good", journal=journal)
        with suppress(KeyboardInterrupt):
            Deal("gone").run_sync("a", id="gone", journal=journal)

    def left_behind(self) -> None:
        """Of two calls that are left behind, one ends well and one does not."""
        cutting = timeout(5, sync="abandon", name="hanging")
        for error in (None, ValueError(), CircuitBreaker("inner")._refused("so", 1.0)):
            hang, ended = threading.Event(), threading.Event()

            def work(error: Exception | None = error, hang: threading.Event = hang) -> None:
                hang.wait()
                if error is not None:
                    raise error

            with pytest.raises(TimedOut) as caught:
                cutting.call(work)
            assert caught.value.work is not None
            caught.value.work.add_done_callback(lambda _, ended=ended: ended.set())
            hang.set()
            ended.wait()
        self.cutting = cutting


@pytest.fixture(scope="module")
def afternoon() -> Iterator[Afternoon]:
    forget_providers()
    yield Afternoon()
    forget_providers()


def kind_of(span: ReadableSpan) -> str:
    name = re.sub(r"\d+", "N", span.name)
    kinds = {"attempt N": "attempt", "timeout.abandoned": "left"}
    return "wait" if name.endswith(".wait") else kinds.get(name, "call")


def by_kind(spans: Sequence[ReadableSpan]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for span in spans:
        found[kind_of(span)].append(dict(span.attributes or {}))
    return found


# Spans


def test_the_spans_are_those_of_the_page(afternoon: Afternoon) -> None:
    promised = {name for row in SPANS for name in NAMED.findall(row[0])}
    seen = {re.sub(r"\d+", "N", span.name) for span in afternoon.spans if kind_of(span) != "call"}
    assert seen == promised


def test_every_attribute_is_promised_where_it_is_seen(afternoon: Afternoon) -> None:
    promised = {(kind, name(row)) for row in ATTRIBUTES for at, kind in enumerate(KINDS, 1) if row[at]}
    kinds = by_kind(afternoon.spans)
    assert {(kind, key) for kind in kinds for attributes in kinds[kind] for key in attributes} == promised


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_always_and_what_sometimes(afternoon: Afternoon, kind: str) -> None:
    spans = by_kind(afternoon.spans)[kind]
    for row in ATTRIBUTES:
        cell = row[1 + KINDS.index(kind)]
        having = [name(row) in attributes for attributes in spans]
        assert {"": not any(having), "yes": all(having)}.get(cell, any(having) and not all(having)), (row, kind)


@pytest.mark.parametrize("row", [row for row in ATTRIBUTES if len(NAMED.findall(row[-1])) > 1], ids=lambda row: row[0])
def test_the_values_are_those_of_the_page(afternoon: Afternoon, row: list[str]) -> None:
    seen = {
        attributes[name(row)]
        for spans in by_kind(afternoon.spans).values()
        for attributes in spans
        if name(row) in attributes
    }
    assert seen == set(NAMED.findall(row[-1]))


def test_the_scope_is_named_and_has_the_version(afternoon: Afternoon) -> None:
    scopes = {
        (span.instrumentation_scope.name, span.instrumentation_scope.version)
        for span in afternoon.spans
        if span.instrumentation_scope
    }
    assert scopes == {("resilience", _metrics.own_version())}
    assert _metrics.own_version()


# Sagas


def saga_kind_of(span: ReadableSpan) -> str:
    return span.name.partition(" ")[0] if " " in span.name else "anchor"


def test_the_spans_of_sagas_are_those_of_the_page(afternoon: Afternoon) -> None:
    promised = {word.split()[0] for row in SAGA_SPANS for word in NAMED.findall(row[0])}
    assert {saga_kind_of(span) for span in afternoon.saga_spans} == promised | {"anchor"}
    anchors = {span.context.span_id: span.attributes for span in afternoon.saga_spans if saga_kind_of(span) == "anchor"}
    for span in afternoon.saga_spans:
        if saga_kind_of(span) != "anchor":
            assert span.parent is not None
            assert anchors[span.parent.span_id]["resilience.saga.id"] == span.attributes["resilience.saga.id"]  # type: ignore[index]


@pytest.mark.parametrize("kind", SAGA_KINDS)
def test_what_a_sagas_span_says_always_and_sometimes(afternoon: Afternoon, kind: str) -> None:
    spans = [dict(span.attributes or {}) for span in afternoon.saga_spans if saga_kind_of(span) == kind]
    assert {key for span in spans for key in span} == {
        name(row) for row in SAGA_ATTRIBUTES if row[1 + SAGA_KINDS.index(kind)]
    }
    for row in SAGA_ATTRIBUTES:
        cell = row[1 + SAGA_KINDS.index(kind)]
        having = [name(row) in span for span in spans]
        assert {"": not any(having), "yes": all(having)}.get(cell, any(having) and not all(having)), (row, kind)


@pytest.mark.parametrize(
    "row", [row for row in SAGA_ATTRIBUTES if len(NAMED.findall(row[-1])) > 1], ids=lambda row: row[0]
)
def test_the_values_of_sagas_are_those_of_the_page(afternoon: Afternoon, row: list[str]) -> None:
    seen = {span.attributes[name(row)] for span in afternoon.saga_spans if name(row) in (span.attributes or {})}  # type: ignore[index]
    assert seen == set(NAMED.findall(row[-1]))


def test_the_links_of_sagas_say_what_they_are(afternoon: Afternoon) -> None:
    seen = {
        (saga_kind_of(span), *(link.attributes or {}).items()) for span in afternoon.saga_spans for link in span.links
    }
    assert seen == {
        ("run", ("resilience.saga.linked", "resumed_from")),
        ("undo", ("resilience.saga.linked", "undoes")),
    }


# Metrics


def test_the_metrics_of_the_page_are_those_declared() -> None:
    promised = {name(row): (row[1], NAMED.findall(row[2]), NAMED.findall(row[3])) for row in METRICS}
    declared = {one.name: (one.kind, [one.unit], list(one.attributes)) for one in _metrics.declared()}
    assert promised == declared


def test_the_metrics_declared_are_those_the_sdk_saw(afternoon: Afternoon) -> None:
    seen = {metric.name: (instrument_of(metric), metric.unit) for metric in afternoon.metrics.values()}
    assert seen == {one.name: (one.kind, one.unit) for one in _metrics.declared()}
    assert all(metric.description for metric in afternoon.metrics.values())


def test_every_attribute_of_a_metric_is_promised_and_seen(afternoon: Afternoon) -> None:
    for one in _metrics.declared():
        points: Any = afternoon.metrics[one.name].data.data_points
        assert {key for point in points for key in point.attributes} == set(one.attributes), one.name


def test_the_values_on_metrics_are_few_and_known(afternoon: Afternoon) -> None:
    allowed = {name(row): set(NAMED.findall(row[-1])) for row in ATTRIBUTES if len(NAMED.findall(row[-1])) > 1}
    for row in SAGA_ATTRIBUTES:
        allowed[name(row)] = set(NAMED.findall(row[-1])) or allowed.get(name(row), set())
    allowed["resilience.saga.outcome"] -= {"stuck", "left"}  # those have not ended
    (verdicts,) = (row for row in METRICS if name(row).endswith("verdicts"))
    allowed["resilience.circuit_breaker.verdict"] = set(NAMED.findall(verdicts[-1]))
    (lookups,) = (row for row in METRICS if name(row).endswith("lookups"))
    (hedges,) = (row for row in METRICS if name(row).endswith("hedges"))
    allowed["resilience.hedge.result"] = set(NAMED.findall(hedges[-1]))
    allowed["resilience.cache.result"] = set(NAMED.findall(lookups[-1]))
    seen: dict[str, set[str]] = defaultdict(set)
    for metric in afternoon.metrics.values():
        for point in cast("Any", metric.data).data_points:
            for key, value in point.attributes.items():
                seen[key].add(value)
    counts = {name(row): row[1] for row in table("attribute", "how many values")}
    assert set(counts) == set(seen)
    for key, values in seen.items():
        if counts[key][0].isdigit():
            assert values == allowed[key]
            assert len(values) == int(counts[key].partition(":")[0])


def instrument_of(metric: Metric) -> str:
    data = metric.data
    if isinstance(data, Histogram):
        return "histogram"
    assert isinstance(data, Sum)
    return "counter" if data.is_monotonic else "up_down_counter"


def name(row: list[str]) -> str:
    (found,) = NAMED.findall(row[0])
    return str(found)


def test_every_name_on_the_page_exists() -> None:
    known = {one.name for one in _metrics.declared()} | {name(row) for row in ATTRIBUTES}
    known |= {key for one in _metrics.declared() for key in one.attributes}
    known |= {name(row) for row in SAGA_ATTRIBUTES} | {"resilience.saga.linked"}
    assert {word for word in NAMED.findall(PAGE) if word.startswith("resilience.")} <= known
