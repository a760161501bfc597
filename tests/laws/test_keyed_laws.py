"""The laws of policies by key: nothing is forgotten that is not calm or in use, and all that is kept is bounded."""

import gc
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilience import Bulkhead, CircuitBreaker, FailureRate, Keyed, Pipeline, RateLimiter, RetryBudget, retry
from resilience._core.keyring import LOOKS, Keyring
from resilience._policy import Policy, Shared
from resilience._traits import Role, Traits
from resilience.errors import BulkheadFull, CircuitOpen, RateLimited, Rejected
from resilience.testing import sandbox
from tests.crowd import threads
from tests.doors import BLOCK_DOORS, DOORS, FUNCTION_DOORS
from tests.sdk import Sdk, facts, forget_providers

every_door = pytest.mark.parametrize("door", DOORS)
function_doors = pytest.mark.parametrize("door", FUNCTION_DOORS)
block_doors = pytest.mark.parametrize("door", BLOCK_DOORS)
every_backend = pytest.mark.parametrize("backend", ["asyncio", "trio"])

Door = Callable[[Any, Callable[[], Any]], Any]


class Current:
    """Which key the calls of a test have: the doors call functions without arguments."""

    def __init__(self) -> None:
        self.key: Any = None

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.key


def through(door: Door, keyed: Keyed, current: Current, key: Any, work: Callable[[], Any]) -> Any:
    """One call of a key through any door: a block is guarded by the policy of the key."""
    current.key = key
    if any(door is one.values[0] for one in BLOCK_DOORS):
        return door(keyed[key], work)
    return door(keyed, work)


def fail() -> None:
    raise OSError("down")


def nothing() -> None:
    """A call that succeeds."""


def breakers(maxsize: int = 4, **options: Any) -> tuple[Keyed, Current]:
    current = Current()
    return Keyed(lambda key: CircuitBreaker(**{"trip": 2, **options}), key=current, maxsize=maxsize), current


def crowd(keyed: Keyed, count: int, start: int = 0) -> None:
    """So many other keys come by."""
    for key in range(start, start + count):
        keyed[f"other {key}"]


@every_door
@pytest.mark.law(67)
def test_what_is_not_calm_is_not_forgotten(door: Door) -> None:
    keyed, current = breakers()
    with sandbox():
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                through(door, keyed, current, "acme", fail)
        crowd(keyed, 50)
        with pytest.raises(CircuitOpen):
            through(door, keyed, current, "acme", nothing)
        assert keyed["acme"].state == "open"


@every_door
@pytest.mark.law(67)
def test_one_failure_that_counts_is_not_forgotten(door: Door) -> None:
    keyed, current = breakers()
    with sandbox():
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                through(door, keyed, current, "acme", fail)
            crowd(keyed, 50)
        assert keyed["acme"].state == "open"


@every_door
@pytest.mark.law(67)
def test_a_call_under_way_is_not_parted_from_its_policy(door: Door) -> None:
    """It fails after all others came by: its failure counts, although the policy was calm meanwhile."""
    keyed, current = breakers()

    def fail_late() -> None:
        crowd(keyed, 50)
        fail()

    with sandbox():
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                through(door, keyed, current, "acme", fail_late)
        assert keyed["acme"].state == "open"


@every_door
@pytest.mark.law(67, 25)
def test_a_place_that_is_taken_is_not_doubled(door: Door) -> None:
    current = Current()
    keyed = Keyed(lambda key: Pipeline(CircuitBreaker(), Bulkhead(1)), key=current, maxsize=2)

    def work() -> None:
        crowd(keyed, 50)
        with pytest.raises(BulkheadFull), keyed["acme"].guard():
            pass

    through(door, keyed, current, "acme", work)
    through(door, keyed, current, "acme", nothing)


@pytest.mark.law(67)
def test_permits_that_are_spent_are_not_given_anew() -> None:
    keyed = Keyed(lambda key: RateLimiter(1, per=10), key="key", maxsize=2)
    with sandbox() as time:
        keyed.call(lambda key: None, "acme")
        for _ in range(5):
            crowd(keyed, 50)
            with pytest.raises(RateLimited):
                keyed.call(lambda key: None, "acme")
            time.advance(1.9)
        time.advance(1)
        assert keyed["acme"].calm


def taken(policy: Any, hold: str) -> Any:
    """One of the things by which a policy can be held."""
    match hold:
        case "lease":
            return policy.admit()
        case "decorated":
            return policy(fail)
        case "guard":
            return policy.guard()
        case _:
            return policy


@pytest.mark.law(67)
@pytest.mark.parametrize("hold", ["policy", "lease", "decorated", "guard"])
def test_what_somebody_holds_is_not_forgotten(hold: str) -> None:
    """Whatever it is that is held: the policy, a lease from deep inside of it, a function it guards."""
    keyed = Keyed(lambda key: Pipeline(CircuitBreaker(trip=1)), key="key", maxsize=2)
    with sandbox():
        held = taken(keyed["acme"], hold)
        crowd(keyed, 50)
        with suppress(OSError):
            if hold == "lease":
                held.fail()
            elif hold == "decorated":
                held()
            elif hold == "guard":
                with held:
                    fail()
            else:
                held.call(fail)
        del held
        crowd(keyed, 50, 100)
        with pytest.raises(CircuitOpen):
            keyed["acme"].admit()


@pytest.mark.law(67)
def test_what_a_call_leaves_behind_as_it_ends_is_seen() -> None:
    """Whether it is calm is asked once more when nobody can change it: a call may have failed since, and be gone."""

    class Failing(retry):
        asked = 0

        @property
        def calm(self) -> bool:
            self.asked += 1
            return self.asked == 1

    keyed = Keyed(lambda key: Failing(on=OSError), key="key", maxsize=1)
    keyed["acme"]
    keyed["umbrella"]
    assert keyed["acme"].asked > 1


@pytest.mark.law(9, 67)
def test_one_that_cannot_say_whether_it_is_calm_is_kept() -> None:
    class Broken(retry):
        broken = True

        @property
        def calm(self) -> bool:
            if self.broken:
                raise ZeroDivisionError
            return True

    keyed = Keyed(lambda key: Broken(on=OSError), key="key", maxsize=1)
    keyed["acme"]
    with pytest.raises(ZeroDivisionError):
        keyed["umbrella"]
    keyed["acme"].broken = False
    keyed["umbrella"]
    assert list(keyed.ring.entries) == ["umbrella"]


class Loose(Policy):
    """A policy of a user's own, whose shells refer to its counts and not to itself."""

    kind = "loose"

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[BaseException] = []

    @property
    def calm(self) -> bool:
        return not self.failures

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        failures = self.failures

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return fn(*args, **kwargs)
            except OSError as error:
                failures.append(error.with_traceback(None))
                raise

        return call

    def abind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        failures = self.failures

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await fn(*args, **kwargs)
            except OSError as error:
                failures.append(error.with_traceback(None))
                raise

        return call

    def traits(self) -> Traits:
        return Traits(Role.CUSTOM, "loose")


@function_doors
@pytest.mark.law(67)
def test_a_call_is_not_parted_from_a_policy_that_its_shell_does_not_refer_to(door: Door) -> None:
    current = Current()
    keyed = Keyed(lambda key: Loose(), key=current, maxsize=2)

    def fail_late() -> None:
        crowd(keyed, 20)
        fail()

    with suppress(OSError):
        through(door, keyed, current, "acme", fail_late)
    assert len(keyed["acme"].failures) == 1


class Mute(Shared):
    """One that holds state and does not say whether it is calm."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return fn

    def abind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return fn

    def traits(self) -> Traits:
        return Traits(Role.CUSTOM, "mute")


@pytest.mark.law(67)
def test_what_does_not_say_that_it_is_calm_is_kept() -> None:
    keyed = Keyed(lambda key: Mute() if key == "acme" else CircuitBreaker(), key="key", maxsize=2)
    keyed["acme"]
    crowd(keyed, 20)
    assert "acme" in keyed.ring.entries


@pytest.mark.law(21)
@pytest.mark.parametrize("kind", [RateLimiter, Bulkhead])
def test_a_refusal_that_is_over_holds_nothing(kind: Callable[..., Any]) -> None:
    """Nor is it left to the garbage collector."""
    keyed = Keyed(lambda key: kind(1), key="key", maxsize=1)
    gc.disable()
    try:
        with sandbox() as time:
            with keyed["acme"].guard():
                for _ in range(2):
                    with suppress(Rejected):
                        keyed["acme"].admit()
            time.advance(5)
            keyed["umbrella"]
            assert list(keyed.ring.entries) == ["umbrella"]
    finally:
        gc.enable()


@pytest.mark.law(9)
def test_a_factory_runs_under_no_lock() -> None:
    def factory(key: str) -> CircuitBreaker:
        if key == "slow":
            other = threading.Thread(target=lambda: keyed["other"], daemon=True)
            other.start()
            other.join(10)
            assert not other.is_alive()
        return CircuitBreaker()

    keyed = Keyed(factory, key="key")
    keyed["slow"]
    assert set(keyed.ring.entries) == {"slow", "other"}


@pytest.mark.law(24)
def test_a_forked_child_does_not_wait_for_a_lock_of_its_parent() -> None:
    keyed, _ = breakers()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with keyed._lock:
            held.set()
            done.wait()

    with threads(hold) as made:
        made[0].start()
        held.wait()
        before = keyed._lock
        keyed._after_fork()
        got = keyed._lock is not before and keyed["acme"]
        done.set()
    assert got


@every_backend
@pytest.mark.law(67)
def test_tasks_under_way_keep_their_policy(backend: str) -> None:
    keyed = Keyed(lambda key: CircuitBreaker(trip=3), key="key", maxsize=2)

    async def main() -> None:
        go = anyio.Event()

        @keyed
        async def late(key: str) -> None:
            await go.wait()
            fail()

        async def call() -> None:
            with suppress(OSError):
                await late("acme")

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            crowd(keyed, 50)
            go.set()
        assert keyed["acme"].state == "open"

    with sandbox():
        anyio.run(main, backend=backend)


@pytest.mark.law(21)
def test_what_is_calm_and_unused_is_forgotten_and_gone() -> None:
    """At once, that is without the help of the garbage collector: nothing of it refers to itself."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def factory(key: Any) -> Pipeline:
        policies = [
            CircuitBreaker(trip=(5, FailureRate(0.5, calls=30))),
            RateLimiter(5),
            Bulkhead(2),
            retry(on=OSError),
        ]
        alive.update(policies)
        return Pipeline(policies[3], *policies[:3])

    keyed = Keyed(factory, key="key", maxsize=4)
    call = keyed(lambda key: key)
    gc.disable()
    try:
        with sandbox() as time:
            for key in range(100):
                assert call(key) == key
                time.advance(2)
            assert (keyed.stats.keys, keyed.stats.made, keyed.stats.shared) == (4, 100, 0)
            assert len(alive) == 4 * 4
    finally:
        gc.enable()


@pytest.mark.law(21)
def test_all_that_is_kept_is_bounded_and_the_others_share() -> None:
    keyed, current = breakers(maxsize=3)

    @keyed
    def call(*, bad: bool) -> None:
        if bad:
            fail()

    with sandbox():
        for number in range(20):
            current.key = number
            with suppress(OSError, Rejected):
                call(bad=True)
            assert keyed.stats.keys <= 3
        assert keyed[3] is keyed[19]
        assert keyed[0] is not keyed[1]
        assert keyed.stats.shared > 0
        current.key = 1
        keyed[1].reset()
        call(bad=False)
        current.key = 20
        call(bad=False)
        assert keyed[20] is not keyed[19]


@pytest.mark.law(67)
def test_who_shares_a_policy_does_so_until_it_can_be_let_go_of() -> None:
    keyed = Keyed(lambda key: Bulkhead(1), key="key", maxsize=1)
    kept, shared = keyed["a"], keyed["b"].admit()
    del kept
    with pytest.raises(BulkheadFull):  # there is room for "b", but its only place is taken
        keyed["b"].admit()
    assert keyed["b"] is not keyed["c"]  # which has never shared, and has the room
    shared.succeed()
    del shared
    own = keyed["b"]  # for the shared one was calm, and in nobody's use
    assert not keyed._sharers
    assert own is not keyed["d"]


@pytest.mark.law(67)
def test_an_open_circuit_that_is_shared_stays_open_to_those_who_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resilience._keyed._SHARERS", 2)
    keyed = Keyed(lambda key: CircuitBreaker(trip=1), key="key", maxsize=1)
    call = keyed(lambda key, bad: fail() if bad else key)
    with sandbox() as time:
        for key in ("a", "b"):
            with pytest.raises(OSError, match="down"):
                call(key, bad=True)
        keyed["a"].reset()  # so there is room
        with pytest.raises(CircuitOpen):
            call("b", bad=False)
        assert call("c", bad=False) == "c"
        keyed["a"].isolate()
        with pytest.raises(CircuitOpen):
            call("d", bad=False)  # there is none: it shares, and that makes more than can be known
        keyed["a"].reset()
        with pytest.raises(CircuitOpen):
            call("e", bad=False)
        time.advance(100)
        assert call("b", bad=False) == "b"  # the probe that closes it
        assert call("e", bad=False) == "e"
        assert keyed["e"] is not keyed["b"]


@pytest.mark.law(21)
def test_one_that_is_asked_for_again_and_again_stays() -> None:
    made = Counter[Any]()

    def factory(key: Any) -> CircuitBreaker:
        made[key] += 1
        return CircuitBreaker()

    call = Keyed(factory, key="key", maxsize=8)(lambda key: None)
    for key in range(100):
        call("regular")
        call(key)
    assert made["regular"] == 1
    assert made.total() == 101


@pytest.mark.law(24)
def test_threads_that_miss_together_get_one_policy() -> None:
    together, got = threading.Barrier(4), list[Any]()

    def factory(key: str) -> Bulkhead:
        with suppress(threading.BrokenBarrierError):
            together.wait(5)
        return Bulkhead(1)

    keyed = Keyed(factory, key="key")
    with threads(*[lambda: got.append(keyed["acme"])] * 4) as made:
        for thread in made:
            thread.start()
    assert len(got) == 4
    assert len(set(map(id, got))) == 1


@pytest.mark.law(24, 67)
def test_no_failure_is_lost_while_keys_come_and_go_in_threads() -> None:
    """Each key fails a known number of times; however they are shuffled, its breaker has counted every one."""
    keyed = Keyed(lambda key: CircuitBreaker(trip=1_000), key="key", maxsize=16)

    @keyed
    def call(key: int, *, bad: bool) -> None:
        if bad:
            fail()

    done = Counter[int]()

    def run(seed: int) -> None:
        for step in range(300):
            key = (step * 7 + seed) % 40
            bad = key < 8
            with suppress(OSError):
                call(key, bad=bad)
            if bad:
                lock.acquire()
                done[key] += 1
                lock.release()

    lock, interval = threading.Lock(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with threads(*[lambda seed=seed: run(seed) for seed in range(4)]) as made:  # type: ignore[misc]  # a default
            for thread in made:
                thread.start()
    finally:
        sys.setswitchinterval(interval)
    assert {key: keyed[key].stats.failures_in_row for key in range(8)} == {key: done[key] for key in range(8)}
    assert keyed.stats.keys <= 16


@pytest.mark.law(9)
def test_a_factory_that_raises_wedges_nothing() -> None:
    answers: list[Any] = [ValueError("no such tenant"), CircuitBreaker()]

    def factory(key: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    call = Keyed(factory, key="key")(lambda key: key)
    with pytest.raises(ValueError, match="no such tenant") as caught:
        call("acme")
    assert caught.value.__context__ is None
    assert call("acme") == "acme"


@pytest.mark.law(21)
def test_no_key_is_on_any_metric_however_many_there_are() -> None:
    sdk = Sdk(metrics=True).install()
    keyed = Keyed(
        lambda key: Pipeline(CircuitBreaker(trip=1), Bulkhead(2), RateLimiter(5)), key="tenant", name="tenants"
    )

    @keyed
    def call(tenant: str) -> None:
        fail()

    try:
        with sandbox():
            for number in range(50):
                for _ in range(2):
                    with suppress(OSError, Rejected):
                        call(f"tenant-{number}")
            values = {
                str(value)
                for metric in sdk.metrics().values()
                for point in metric.data.data_points
                for value in dict(point.attributes or {}).values()
            }
            usage = sdk.points("resilience.keyed.usage")
            limit = sdk.points("resilience.bulkhead.limit")
    finally:
        forget_providers()
    names = {span.name for span in sdk.spans}
    assert "tenants" in values
    assert not any("tenant-" in value for value in values | names)
    assert usage[facts(policy="tenants")] == 50
    assert limit[facts(policy="tenants")] == 50 * 2


@pytest.mark.law(21)
def test_a_factory_cannot_put_the_key_into_a_name() -> None:
    for factory in (
        lambda key: CircuitBreaker(key),
        lambda key: Pipeline(Bulkhead(1), name=key),
        lambda key: retry(on=OSError, budget=RetryBudget(name=key)),
    ):
        with pytest.raises(ValueError, match="name must be left out in what is made for a key, got 'acme'"):
            Keyed(factory, key="key")["acme"]


class Forgetting(RuleBasedStateMachine):
    """A `Keyed` of few keys behaves as a dict that never forgets: nobody can tell the difference."""

    keys = st.sampled_from("abcdefgh")

    def __init__(self) -> None:
        super().__init__()
        self.time = sandbox()
        self.clock = self.time.__enter__()
        self.keyed = Keyed(self.make, key="key", maxsize=8)
        self.never: dict[str, Pipeline] = {}
        self.held: list[tuple[Any, Any]] = []
        self.extra = 0

    def make(self, key: Any = None) -> Pipeline:
        # No rate of failures: the successes that are in a window are forgotten, and so it counts from there on.
        return Pipeline(CircuitBreaker(trip=3, cooldown=10, jitter=0), RateLimiter(3, per=3), Bulkhead(2))

    def both(self, key: str) -> tuple[Any, Any]:
        return self.keyed[key], self.never.setdefault(key, self.make())

    @rule(key=keys, bad=st.booleans())
    def call(self, key: str, bad: bool) -> None:
        outcomes = []
        for policy in self.both(key):
            try:
                policy.call(fail if bad else nothing)
                outcomes.append("done")
            except Exception as error:
                outcomes.append(type(error).__name__)
        assert outcomes[0] == outcomes[1]

    @rule(key=keys)
    def admit(self, key: str) -> None:
        leases: list[Any] = []
        for policy in self.both(key):
            try:
                leases.append(policy.admit())
            except Rejected as error:
                leases.append(type(error))
        refusals = [lease for lease in leases if isinstance(lease, type)]
        if refusals:
            assert leases[0] is leases[1]
        else:
            self.held.append((leases[0], leases[1]))

    @rule(bad=st.booleans())
    def end(self, bad: bool) -> None:
        if self.held:
            for lease in self.held.pop(0):
                lease.fail() if bad else lease.succeed()

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def others(self) -> None:
        """As many keys come by as it takes to make it forget whatever it can."""
        self.extra += 1
        for number in range(20):
            self.keyed[f"{self.extra} {number}"]

    @invariant()
    def bounded(self) -> None:
        assert self.keyed.stats.keys <= 8

    def teardown(self) -> None:
        self.time.__exit__(None, None, None)


TestForgetting = pytest.mark.law(67, 21)(Forgetting.TestCase)


class Kept:
    def __init__(self, spared: bool) -> None:
        self.spared = spared

    def asked_since(self) -> bool:
        return False


@pytest.mark.law(21)
def test_the_ring_looks_at_few_and_comes_to_all() -> None:
    ring: Keyring[Kept] = Keyring(100)
    for key in range(100):
        ring.entries[key] = Kept(spared=key == 99)
    looks: list[Any] = []

    def let_go(key: Any) -> None:
        looks.append(key)
        if ring.entries[key].spared:
            del ring.entries[key]

    rounds = 0
    while not ring.make_room(let_go):
        rounds += 1
        assert len(looks) <= rounds * LOOKS
    assert looks == list(range(100))
    assert rounds == 100 // LOOKS
