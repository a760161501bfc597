"""`simulate`: the same policies, a modelled service, and time that does not pass."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, cast

from .. import _checks
from .._clock import use
from .._compose import acompose
from .._events import listen, logger
from .._fallback import fallback
from .._fuse import fuse, wanted
from .._layer import SupportsBind
from .._live import shelve_all
from .._pipeline import Pipeline
from ..errors import ResilienceWarning
from ._clients import Arrivals, Call, Client
from ._ledger import Ledger
from ._loop import START
from ._report import Report
from ._service import Model
from ._world import World, WorldClock

Guard = SupportsBind | fallback[Any]
"""What can guard calls: a policy, or anything with `bind` and `abind`."""

_GARBAGE = 50_000
"""Objects between two looks for garbage: calls leave next to none, and looking for it takes a quarter of the time."""


def simulate(
    service: Callable[[], Awaitable[Any]],
    policy: Guard | Callable[[int], Guard] | None = None,
    *,
    rate: float | Callable[[float], float] | None = None,
    think: _checks.Seconds | None = None,
    clients: int = 1,
    seconds: _checks.Seconds = 60.0,
    seed: int = 0,
    tick: _checks.Seconds = 1.0,
    at: Iterable[tuple[float, Callable[[], object]]] = (),
) -> Report:
    """Let clients call a modelled service through policies, in virtual time.

    The policies are those that guard real calls, not models of them; every policy that is alive starts calm, and is as
    before afterwards. Only their async doors are used. Listeners and logs of the application hear nothing. The same
    seed gives the same run, to the last digit; the moments of the calls at a rate do not depend on the policy.

    Args:
        service: What is called: a `Service`, or any function without arguments that returns an awaitable, and that
            waits by nothing but these models, `asyncio` and `anyio`.
        policy: What guards the calls: one policy that all clients share, as in one process, or a function that makes
            that of each client, given its number: a fleet. Default `None`: nothing.
        rate: Calls a second of all clients together, which come whatever becomes of them; or a function that says it
            for a given second of the simulation. Either this or `think`.
        think: Seconds between an answer, or error, and the same client's next call, in the mean: a client has one call
            under way at most.
        clients: How many clients. Default 1.
        seconds: How long, in virtual seconds. Default 60. Calls under way at the end are counted as unfinished.
        seed: Seeds all chance. Default 0.
        tick: Seconds of one step of the course in time. Default 1.
        at: What to do when: moments in seconds, and functions without arguments: `[(20.0, cache.clear)]`.

    Returns:
        What came of it; print it.

    Raises:
        TypeError: A parameter is of the wrong kind, or both or neither of `rate` and `think` are given.
        ValueError: A parameter is out of its range.

    Example:
        ```python
        service = Service(20, lognormal(0.05, 0.2), brownouts=[Brownout(20, 30, slower=4)])
        print(simulate(service, Pipeline(retry(on=TimedOut), timeout(1)), rate=200))
        ```
    """
    if not callable(service):
        raise TypeError(f"service must be a function that returns an awaitable, got {service!r}")
    lasts = _checks.seconds("seconds", seconds)
    step = _checks.seconds("tick", tick)
    many = _checks.whole("clients", clients)
    seed = _checks.whole("seed", seed, least=0)
    arrive = _arrivals(rate, _checks.seconds_or_none("think", think))
    deeds = _deeds(at)
    make = _policies(policy)
    with _living_in(World(seed)) as world:
        ledger = Ledger(world, step)
        for moment, deed in deeds:
            world.call_at(START + moment, deed)
        everybody = arrive(world, ledger, _calls(service, make, many, ledger))
        try:
            world.run(START + lasts)
            return ledger.report()
        finally:
            del everybody
            world.end()


Deed = tuple[float, Callable[[], object]]


def _deeds(at: Iterable[Deed]) -> list[Deed]:
    """What to do when."""
    try:
        pairs = [(moment, deed) for moment, deed in at]
    except (TypeError, ValueError):  # not to be gone through, or no pairs
        pairs = None
    if pairs is None or not all(callable(deed) for _, deed in pairs):
        raise TypeError(f"at must hold pairs of seconds and a function, as [(20.0, cache.clear)], got {at!r}")
    return [(_checks.number("each moment of at", moment, least=0.0), deed) for moment, deed in pairs]


Make = Callable[[int], Guard]
Arrive = Callable[[World, Ledger, Sequence[Call]], object]


def _arrivals(rate: float | Callable[[float], float] | None, think: float | None) -> Arrive:
    """How the clients come."""
    if (rate is None) == (think is None):
        raise TypeError(
            "give either rate= (calls a second, whatever becomes of them) or think= (each client waits for its answer, "
            f"and thinks so long), got rate={rate!r} and think={think!r}"
        )
    if think is not None:
        return lambda world, ledger, calls: _crowd(world, ledger, calls, think)
    if not callable(rate):
        steady = _checks.number("rate", rate, above=0.0)
        return lambda world, ledger, calls: Arrivals(world, ledger, calls, steady)

    def pace(second: float) -> float:
        return _checks.number(f"what rate= returns for second {second:g}", rate(second), least=0.0)

    return lambda world, ledger, calls: Arrivals(world, ledger, calls, pace)


def _crowd(world: World, ledger: Ledger, calls: Sequence[Call], think: float) -> object:
    random = world.stream()
    return [Client(world, ledger, call, think, random) for call in calls]


def _policies(policy: Guard | Make | None) -> Make:
    if policy is None:
        policy = Pipeline()
    if isinstance(policy, SupportsBind | fallback):
        one = policy
        return lambda _: one
    if not callable(policy):
        raise TypeError(f"policy must be a policy, or a function that makes one for a client's number, got {policy!r}")
    return policy


def _calls(service: Callable[[], Awaitable[Any]], make: Make, many: int, ledger: Ledger) -> list[Call]:
    """What each client calls."""
    # Python calls a method twice as fast as an object that has a `__call__`.
    ask = service.__call__ if isinstance(service, Model) else service

    def request() -> Awaitable[Any]:
        ledger.requests += 1
        return ask()

    guarded: dict[int, Call] = {}
    kept = [make(number) for number in range(many)]
    for one in kept:
        if id(one) not in guarded:
            try:
                shell = acompose((Entrance(ledger), *_layers(one)), request)
            except ValueError as error:
                raise ValueError(f"a simulated call has no arguments, so nothing can ask for one: {error}") from error
            guarded[id(one)] = _written(shell, request)
    return [guarded[id(one)] for one in kept]


def _written(shell: Call, request: Call) -> Call:
    """All shells in one function, as in a program that decorates."""
    _, beginning = fuse(shell, request) if wanted() else (None, None)
    return (beginning and beginning.function()) or shell


class Entrance:
    """The outermost shell of each call: it counts them, and makes a coroutine of what nothing guards.

    Args:
        ledger: Who counts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """See `SupportsBind`."""
        return fn

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """See `SupportsBind`."""
        entrance = self._ledger

        async def call(*args: Any, **kwargs: Any) -> Any:
            entrance.calls += 1
            result = await fn(*args, **kwargs)
            return result

        return call


def _layers(policy: Any) -> tuple[SupportsBind, ...]:
    with warnings.catch_warnings():  # what is doubtful in it was said when it was made
        warnings.simplefilter("ignore", ResilienceWarning)
        pipeline: Pipeline = Pipeline(policy)
        return pipeline.layers()


@contextmanager
def _living_in(world: World) -> Generator[World]:
    """Everything reads this world's clock, lives on its loop, and is calm; nobody else hears of it."""
    ears: Any = sys.modules[listen.__module__]
    listeners, ears._listeners = ears._listeners, ()
    disabled, logger.disabled = logger.disabled, True
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(cast("Any", world))
    put_clock_back = use(WorldClock(world))
    put_states_back = shelve_all()
    thresholds = gc.get_threshold()
    gc.set_threshold(max(_GARBAGE, thresholds[0]), *thresholds[1:])
    try:
        yield world
    finally:
        gc.set_threshold(*thresholds)
        put_clock_back()
        put_states_back()
        asyncio._set_running_loop(loop)
        ears._listeners, logger.disabled = listeners, disabled
