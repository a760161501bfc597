"""What the presets promise: their figures, what they do about trouble, and that nothing in them is doubtful."""

import inspect
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import pytest

from resilience import CircuitOpen, Pipeline, Rate, TimedOut, listen, presets
from resilience._breaker import CircuitBreaker
from resilience._bulkhead import Bulkhead
from resilience._clock import clock
from resilience._lint import doubts
from resilience._rate_limiter import RateLimiter
from resilience.testing import sandbox

L = TypeVar("L")


class Conflict(Exception):
    """Another transaction was in the way."""


_numbers = count()


def fresh(name: str) -> str:
    """A name that no other test has: what failed keeps its policies alive for a while."""
    return f"{name} {next(_numbers)}"


def layer_of(kind: type[L], pipeline: Pipeline) -> L:
    return next(layer for layer in pipeline.layers() if isinstance(layer, kind))


def answer(status: int, **headers: str) -> Any:
    return SimpleNamespace(status_code=status, headers=headers)


def quota(*rates: Rate) -> RateLimiter:
    return RateLimiter(*(rates or (Rate(1_000, per=60),)), cost=0, max_wait=None)


ANY: Any = presets
"""The presets, given what a type checker would not let pass."""


def http(**options: Any) -> Pipeline:
    options = {"idempotent": True, **options}
    return presets.http(fresh("billing"), **options)


def database(**options: Any) -> Pipeline:
    options = {"conflict": Conflict, "connections": 3, **options}
    return presets.database(fresh("bank"), **options)


def llm(**options: Any) -> Pipeline:
    options = {"tokens": None, **options}
    return presets.llm(fresh("model"), **options)


ALL: list[Callable[..., Pipeline]] = [http, database, llm]


@pytest.mark.parametrize(
    "preset",
    [
        *ALL,
        lambda: http(idempotent=False, rate=RateLimiter(5)),
        lambda: http(attempt=90, total=200),
        lambda: database(down=ConnectionError),
        lambda: llm(tokens=quota(), requests=quota(), attempt=250),
    ],
    ids=count(),
)
def test_nothing_in_it_is_doubtful(preset: Callable[..., Pipeline]) -> None:
    layers: Any = preset().layers()  # a warning is an error here
    assert doubts([layer.traits() for layer in layers], layers=layers, coroutine=True) == []


@pytest.mark.parametrize(
    ("preset", "worst", "calls"),
    [
        (http, "30 s", 3),
        (lambda: http(idempotent=False), "11 s", 1),
        (lambda: http(total=8, attempt=2, attempts=2), "8 s", 2),
        (database, "30 s", 5),
        (lambda: database(down=OSError, attempts=1, total=3), "3 s", 1),
        (llm, "600 s", 3),
        (lambda: llm(tokens=quota(), requests=quota()), "600 s", 3),
    ],
)
def test_what_it_promises(preset: Callable[[], Pipeline], worst: str, calls: int) -> None:
    promise = preset().explain().splitlines()
    assert f"worst case:     {worst}" in promise
    assert f"calls per call: at most {calls}" in promise


@pytest.mark.parametrize("preset", ALL)
def test_it_is_a_pipeline_of_public_policies_in_the_order_that_is_recommended(
    preset: Callable[..., Pipeline],
) -> None:
    pipeline = preset()
    layers: Any = pipeline.layers()
    assert type(pipeline) is Pipeline
    assert {type(layer).__module__.rpartition(".")[2] for layer in layers} <= {
        "_timeout", "_retry", "_rate_limiter", "_breaker", "_bulkhead",
    }  # fmt: skip
    roles = [layer.traits().role for layer in layers]
    inner = roles[:-1] if roles[-1] is roles[0] else roles  # the limit of each attempt
    assert inner == sorted(inner)


@pytest.mark.parametrize("preset", [presets.http, presets.database, presets.llm])
def test_every_figure_of_the_signature_is_in_the_docstring(preset: Callable[..., Any]) -> None:
    said = inspect.getdoc(preset) or ""
    for name, parameter in inspect.signature(preset).parameters.items():
        told = said[said.index(f"\n    {name}: ") :].partition("\n    ")[2]
        assert name in told
        if isinstance(parameter.default, int | float):
            of_it = said[said.index(f"\n    {name}: ") + 5 :]
            assert f"Default {parameter.default:g}" in " ".join(of_it.split())[:400]


# What it does


@pytest.mark.anyio
async def test_http_repeats_what_passes_and_waits_as_it_is_told() -> None:
    with sandbox() as time:
        pipeline, answers = http(), [answer(503), answer(429, **{"Retry-After": "7"}), answer(200)]

        @pipeline
        async def get() -> Any:
            return answers.pop(0)

        assert (await get()).status_code == 200
        assert time.elapsed >= 7


@pytest.mark.anyio
async def test_http_sends_what_is_not_idempotent_once() -> None:
    sent: list[int] = []

    @http(idempotent=False)
    async def post() -> Any:
        sent.append(1)
        return answer(503)

    with sandbox():
        assert (await post()).status_code == 503
    assert len(sent) == 1


@pytest.mark.anyio
async def test_http_cuts_an_attempt_off_and_tries_again() -> None:
    tries: list[int] = []

    @http()
    async def get() -> Any:
        tries.append(1)
        if len(tries) == 1:
            await clock.asleep(100)
        return answer(200)

    with sandbox() as time:
        await get()
        assert 10 <= time.elapsed < 11


@pytest.mark.anyio
async def test_http_opens_on_an_ill_service_and_not_on_one_that_is_busy() -> None:
    with sandbox():
        pipeline, status = http(), 429

        @pipeline
        async def get() -> Any:
            return answer(status)

        for _ in range(4):
            await get()
        assert layer_of(CircuitBreaker, pipeline).state == "closed"
        status = 500
        await get()
        await get()
        with pytest.raises(CircuitOpen):
            await get()


@pytest.mark.anyio
async def test_http_counts_each_request_for_its_rate() -> None:
    with sandbox() as time:

        @http(rate=RateLimiter(1, max_wait=5))
        async def get() -> Any:
            return answer(503)

        await get()
        assert time.elapsed >= 2


@pytest.mark.parametrize("preset", ALL)
def test_a_plain_function_needs_a_choice(preset: Callable[..., Pipeline]) -> None:
    def call() -> Any:
        return answer(200)

    with pytest.raises(TypeError, match="sync="):
        preset()(call)
    with sandbox():
        assert preset(sync="deadline")(call)().status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "made"), [(Conflict, 5), (ConnectionError, 1)])
async def test_database_repeats_a_conflict_and_nothing_else(error: type[Exception], made: int) -> None:
    tries: list[int] = []

    @database()
    async def transfer() -> None:
        tries.append(1)
        raise error

    with sandbox(), pytest.raises(error):
        await transfer()
    assert len(tries) == made


@pytest.mark.anyio
async def test_database_does_not_repeat_what_was_cut_off() -> None:
    tries: list[int] = []

    @database(total=3)
    async def hangs() -> None:
        tries.append(1)
        await clock.asleep(100)

    with sandbox(), pytest.raises(TimedOut):
        await hangs()
    assert len(tries) == 1


def test_database_has_the_places_of_its_pool_and_opens_when_it_is_gone() -> None:
    with sandbox():
        pipeline = database(down=ConnectionError, connections=7, sync="deadline")

        @pipeline
        def query() -> None:
            raise ConnectionError

        for _ in range(5):
            with pytest.raises(ConnectionError):
                query()
        with pytest.raises(CircuitOpen):
            query()
        assert layer_of(Bulkhead, pipeline).limit == 7


@pytest.mark.anyio
async def test_llm_pays_a_debt_of_tokens_by_waiting() -> None:
    """A charge counts for all rates; the next call waits until none is in debt."""
    with sandbox() as time:
        tokens = quota(Rate(600, per=60), Rate(10_000, per=86_400))

        @llm(tokens=tokens)
        async def ask(cost: int) -> None:
            tokens.charge(cost)

        await ask(900)
        assert time.elapsed == 0
        await ask(1)
        assert time.elapsed == pytest.approx(30, abs=0.01)  # 300 in debt, at 10 per second


@pytest.mark.anyio
async def test_llm_refuses_who_could_not_be_served_in_time() -> None:
    with sandbox() as time:
        tokens = quota()

        @llm(tokens=tokens, total=100, attempt=50)
        async def ask() -> None: ...

        tokens.charge(10_000)
        with pytest.raises(Exception, match="deadline"):
            await ask()
        assert time.elapsed == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("asked", "waited", "status"), [(119, 119, 200), (121, 0, 429)])
async def test_llm_waits_for_what_is_asked_up_to_two_minutes(asked: int, waited: int, status: int) -> None:
    answers = [answer(429, **{"retry-after": str(asked)}), answer(200)]

    @llm()
    async def ask() -> Any:
        return answers.pop(0)

    with sandbox() as time:
        assert (await ask()).status_code == status
        assert time.elapsed == pytest.approx(waited)


class APIConnectionError(Exception):
    """As an SDK has it."""


@pytest.mark.anyio
@pytest.mark.parametrize("also", [APIConnectionError, (APIConnectionError, KeyError)], ids=["one", "several"])
async def test_llm_takes_the_word_of_an_sdk(also: Any) -> None:
    tries: list[int] = []
    pipeline = llm(also=also)

    @pipeline
    async def ask() -> None:
        tries.append(1)
        raise APIConnectionError

    with sandbox():
        for _ in range(2):
            with pytest.raises(APIConnectionError):
                await ask()
        assert len(tries) == 5
        assert layer_of(CircuitBreaker, pipeline).state == "open"


@pytest.mark.anyio
async def test_llm_spends_little_on_retries() -> None:
    tries: list[int] = []

    @llm()
    async def ask() -> Any:
        tries.append(1)
        return answer(429)

    with sandbox():
        for _ in range(50):
            await ask()
    assert 50 < len(tries) <= 50 + 5 + 5 + 5  # a tenth of the calls, 5 saved up, and one every 2 s of waiting


@pytest.mark.anyio
async def test_llm_lets_no_more_in_than_it_has_places() -> None:
    running = most = 0

    @llm(limit=2)
    async def ask() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await clock.asleep(1)
        running -= 1

    with sandbox() as time:
        async with anyio.create_task_group() as calls:
            for _ in range(6):
                calls.start_soon(ask)
        assert time.elapsed == 3
    assert most == 2


@pytest.mark.anyio
async def test_it_is_told_apart_by_its_name() -> None:
    heard: list[str] = []

    @http()
    async def get() -> Any:
        await clock.asleep(100)

    with sandbox(), listen(lambda event: heard.append(event.policy)), pytest.raises(TimedOut):
        await get()
    assert any(name.startswith("billing") and name.endswith("attempt") for name in heard)


# What makes no sense


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ANY.http("b"), TypeError, "idempotent"),
        (lambda: http(idempotent="yes"), TypeError, "idempotent must be"),
        (lambda: http(total=5), ValueError, r"attempt must be less than total \(5 s\), got 10"),
        (lambda: http(total=-1), ValueError, "total must be"),
        (lambda: http(attempt="x"), TypeError, "attempt must be"),
        (lambda: http(attempts=0), ValueError, "attempts must be"),
        (lambda: http(limit=0), ValueError, "limit must be"),
        (lambda: http(rate=5), TypeError, "rate must be a RateLimiter, .* got 5"),
        (lambda: ANY.http("", idempotent=True), ValueError, "name must"),
        (lambda: ANY.http(None, idempotent=True), TypeError, "name must"),
        (lambda: database(conflict=()), ValueError, "conflict must name"),
        (lambda: database(connections=0), ValueError, "connections must be"),
        (lambda: database(total=float("nan")), ValueError, "total must be"),
        (lambda: ANY.database(None, conflict=OSError, connections=1), TypeError, "name must"),
        (lambda: ANY.llm("m"), TypeError, "tokens"),
        (lambda: llm(tokens=Rate(5)), TypeError, "tokens must be a RateLimiter"),
        (lambda: llm(requests=5), TypeError, "requests must be a RateLimiter"),
        (lambda: llm(also="x"), TypeError, "also takes"),
        (lambda: llm(attempt=600), ValueError, "attempt must be less than total"),
        (lambda: llm(limit="x"), TypeError, "limit must be"),
        (lambda: llm(max_wait=-1), ValueError, "max_wait must be"),
    ],
    ids=count(),
)
def test_bad_input_says_what_is_allowed(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_model_s_calls_that_wait_for_a_place_have_not_passed_the_quota(backend: str) -> None:
    tokens = RateLimiter(Rate(600, per=60), cost=0, max_wait=None)
    model, debts = llm(tokens=tokens, limit=4), list[float]()

    @model
    async def ask() -> None:
        debts.append(-tokens.stats.available)
        await clock.asleep(1)
        tokens.charge(400)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(ask)

    with sandbox():
        anyio.run(main, backend=backend)
    assert len(debts) == 12
    assert max(debts) <= 0.0
