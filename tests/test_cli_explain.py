"""`explain` and `lint`: which compositions they find in a module, what they tell of them, and what they doubt."""

import functools
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import resilience
from resilience import (
    AdaptiveThrottle,
    Bulkhead,
    Cache,
    CircuitBreaker,
    Keyed,
    Pipeline,
    RateLimiter,
    Rejected,
    ResilienceWarning,
    TimedOut,
    fallback,
    retry,
    timeout,
)
from resilience._lint import CODES, doubts, promises
from resilience._traits import Role, Traits
from resilience.cli import main

WANTED = (ConnectionError, TimedOut)
SHOP = "shop_of_this_test"


def stack() -> list[Any]:
    return [
        fallback(None, on=(*WANTED, Rejected)),
        timeout(10),
        retry(on=WANTED),
        CircuitBreaker(),
        Bulkhead(20),
        timeout(2),
    ]


class Ran:
    def __init__(self, code: int, told: Any) -> None:
        self.code, self.out, self.err = code, told.out, told.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Ran(code, capsys.readouterr())

    return run


Shop = Callable[..., ModuleType]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Makes a module of an application's, in which everything was written there."""

    def make(**names: Any) -> ModuleType:
        module = ModuleType(SHOP)
        for name, one in names.items():
            if getattr(one, "__module__", None) == __name__:
                one.__module__ = SHOP
            setattr(module, name, one)
        monkeypatch.setitem(sys.modules, SHOP, module)
        return module

    return make


def doubtful(*parts: Any) -> Pipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResilienceWarning)
        pipeline: Pipeline = Pipeline(*parts)
    return pipeline


def codes(*parts: Any, coroutine: bool = False) -> list[str]:
    layers = doubtful(*parts).layers()
    return [doubt.code for doubt in doubts(traits_of(layers), layers=layers, coroutine=coroutine)]


def traits_of(layers: Sequence[Any]) -> list[Traits]:
    return [layer.traits() for layer in layers]


# What is told


TOLD = """\
shop_of_this_test:payments (payments), outermost first
  1. fallback: answers on (ConnectionError, TimedOut, Rejected)
       called once
       answers for TimedOut, OutOfTime, CircuitOpen, BulkheadFull
  2. timeout: at most 10 s (cancels)
       called once
  3. retry: up to 3 calls on (ConnectionError, TimedOut)
       called once, within 10 s
       repeats TimedOut
       lets pass CircuitOpen, BulkheadFull, OutOfTime
  4. circuit breaker: opens when 5 in a row fail; stays open 60 to 66 s, then 1 probe decides
       called up to 3 times, each within 10 s
       counts TimedOut
       lets pass BulkheadFull, OutOfTime
  5. bulkhead: at most 20 at once, refuses at once
       called up to 3 times, each within 10 s
  6. timeout: at most 2 s (cancels)
       called up to 3 times, each within 10 s
  the function itself
       called up to 3 times, each within 2 s
worst case:     10 s
calls per call: at most 3
may raise:      TimedOut (cut off), OutOfTime (not started), CircuitOpen (not started), BulkheadFull (not started), \
and whatever the function raises
"""


def test_people_are_told_what_each_layer_sees_and_what_all_promise(shop: Shop, run: Run) -> None:
    shop(payments=Pipeline(*stack(), name="payments"))
    ran = run("explain", f"{SHOP}:payments")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == TOLD


def test_its_end_is_what_the_pipeline_says_of_itself(shop: Shop, run: Run) -> None:
    pipeline = Pipeline(*stack())
    shop(payments=pipeline)
    assert run("explain", f"{SHOP}:payments").out.splitlines()[-3:] == pipeline.explain().splitlines()[-3:]


def test_programs_are_told_the_same(shop: Shop, run: Run) -> None:
    shop(payments=Pipeline(*stack(), name="payments"))
    (told,) = run("explain", f"{SHOP}:payments", "--json").json
    assert (told["where"], told["name"], told["coroutine"]) == (f"{SHOP}:payments", "payments", None)
    assert [layer["role"] for layer in told["layers"]] == [
        "fallback", "timeout", "retry", "circuit_breaker", "bulkhead", "timeout",
    ]  # fmt: skip
    again = told["layers"][2]
    assert (again["calls"], again["seconds"], again["cut"]) == (1, 10, True)
    assert (again["handles"], again["passes"]) == (["TimedOut"], ["CircuitOpen", "BulkheadFull", "OutOfTime"])
    assert told["function"] == {"calls": 3, "seconds": 2, "cut": True}
    assert told["worst_case"] == "10 s"
    assert {"error": "TimedOut", "started": True} in told["raises"]
    assert {"error": "CircuitOpen", "started": False} in told["raises"]


def test_what_is_unbounded_is_null_for_programs(shop: Shop, run: Run) -> None:
    shop(forever=Pipeline(retry(on=OSError, attempts=None)))
    (told,) = run("explain", SHOP, "--json").json
    assert told["function"] == {"calls": None, "seconds": None, "cut": False}
    assert told["name"] is None
    assert "called any number of times\n" in run("explain", SHOP).out


TOLD_OF_KEYS = """\
shop_of_this_test:tenants, outermost first
  1. timeout: at most 10 s (cancels)
       called once
  2. retry: up to 3 calls on OSError
       called once, within 10 s
       lets pass BulkheadFull, OutOfTime
       what the key's policy raises is unknown
  3. keyed: a policy for each tenant, up to 10,000 of them
       called up to 3 times, each within 10 s
  4. bulkhead: at most 9 at once, refuses at once
       called an unknown number of times (it depends on the key's policy), each within 10 s
  the function itself
       called an unknown number of times (it depends on the key's policy), each within 10 s
worst case:     10 s
calls per call: unknown: it depends on the key's policy
may raise:      TimedOut (cut off), OutOfTime (not started), BulkheadFull (not started), whatever the function raises, \
and more that is unknown: it depends on the key's policy
"""


def test_what_is_made_for_a_key_is_told_to_be_unknown(shop: Shop, run: Run) -> None:
    by_tenant = Keyed(lambda tenant: retry(on=OSError, attempts=5), key="tenant")
    shop(tenants=Pipeline(timeout(10), retry(on=OSError), by_tenant, Bulkhead(9)))
    assert run("explain", SHOP).out == TOLD_OF_KEYS
    (told,) = run("explain", SHOP, "--json").json
    assert [layer["opaque"] for layer in told["layers"]] == [False, False, True, False]
    assert [layer["calls"] for layer in told["layers"]] == [1, 1, 3, None]
    assert told["function"] == {"calls": None, "seconds": 10, "cut": True}


def test_a_limit_that_only_tells_is_told_as_such(shop: Shop, run: Run) -> None:
    shop(polite=Pipeline(timeout(3, sync="deadline")))
    assert "called once, told to end within 3 s\n" in run("explain", SHOP).out


def test_a_predicate_is_asked(shop: Shop, run: Run) -> None:
    shop(picky=Pipeline(retry(on=lambda _: True), CircuitBreaker()))
    assert "asks about CircuitOpen\n" in run("explain", SHOP).out


def test_to_a_breaker_a_refusal_of_ours_is_no_evidence_unless_it_is_named(shop: Shop, run: Run) -> None:
    shop(usual=Pipeline(CircuitBreaker(), Bulkhead(1)), strict=Pipeline(CircuitBreaker(on=Rejected), Bulkhead(1)))
    assert "lets pass BulkheadFull, OutOfTime\n" in run("explain", f"{SHOP}:usual").out
    assert "counts BulkheadFull, OutOfTime\n" in run("explain", f"{SHOP}:strict").out


def test_a_single_policy_can_be_named(shop: Shop, run: Run) -> None:
    shop(seats=Bulkhead(3), otherwise=fallback(1, on=OSError))
    assert "1. bulkhead: at most 3 at once" in run("explain", f"{SHOP}:seats").out
    assert "1. fallback: answers on OSError" in run("explain", f"{SHOP}:otherwise").out


def test_a_policy_of_ones_own_is_told_by_its_repr(shop: Shop, run: Run) -> None:
    class Mine:
        def bind(self, fn: Any, /) -> Any:
            return fn

        def abind(self, fn: Any, /) -> Any:
            return fn

        def __repr__(self) -> str:
            return "a policy of mine"

    shop(mine=Pipeline(Mine(), timeout(3)))
    assert "  1. a policy of mine\n" in run("explain", f"{SHOP}:mine").out


# What is found


def wheres(ran: Ran) -> list[str]:
    return [one["where"].removeprefix(f"{SHOP}:") for one in ran.json]


def test_pipelines_functions_and_methods_are_found(shop: Shop, run: Run) -> None:
    pipeline = Pipeline(timeout(2), name="shared")

    @pipeline
    async def fetch() -> None: ...

    class Client:
        @pipeline
        async def get(self) -> None: ...

        @staticmethod
        @pipeline
        async def ping() -> None: ...

        @classmethod
        @pipeline
        async def make(cls) -> None: ...

        @pipeline
        @staticmethod
        async def pong() -> None: ...

        def plain(self) -> None: ...

    shop(shared=pipeline, alias=pipeline, fetch=fetch, Client=Client, number=3, lone=Bulkhead(3))
    ran = run("explain", SHOP, "--json")
    assert wheres(ran) == ["shared", "fetch", "Client.get", "Client.ping", "Client.make", "Client.pong"]
    assert [one["coroutine"] for one in ran.json] == [None, True, True, True, True, True]
    assert wheres(run("explain", f"{SHOP}:Client.ping", "--json")) == ["Client.ping"]


def test_stacked_decorators_are_one_composition_also_under_others(shop: Shop, run: Run) -> None:
    def logged(fn: Any) -> Any:
        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            return fn(*args)

        return call

    @logged
    @retry(on=OSError)
    @logged
    @CircuitBreaker()
    def get() -> None: ...

    @functools.lru_cache
    @Pipeline(retry(on=OSError), name="kept")
    def kept() -> None: ...

    shop(get=get, kept=kept)
    told = {one["where"]: one for one in run("explain", SHOP, "--json").json}
    assert [layer["role"] for layer in told[f"{SHOP}:get"]["layers"]] == ["retry", "circuit_breaker"]
    assert told[f"{SHOP}:get"]["coroutine"] is False
    assert told[f"{SHOP}:kept"]["name"] == "kept"


def test_functions_of_other_modules_are_found_in_theirs(shop: Shop, run: Run) -> None:
    @retry(on=OSError)
    def elsewhere() -> None: ...

    elsewhere.__module__ = "elsewhere"
    shop(imported=elsewhere, own=Pipeline(timeout(1)))
    assert wheres(run("explain", SHOP, "--json")) == ["own"]


def test_a_function_that_wraps_itself_ends_the_search(shop: Shop, run: Run) -> None:
    def odd() -> None: ...

    vars(odd)["__wrapped__"] = odd
    shop(odd=odd, own=Pipeline(timeout(1)))
    assert wheres(run("explain", SHOP, "--json")) == ["own"]


def test_a_lazy_object_is_left_asleep(shop: Shop, run: Run) -> None:
    class Lazy:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(f"woken by {name}")

    module = shop(own=Pipeline(timeout(1)))
    vars(module)["lazy"] = Lazy()
    assert wheres(run("explain", SHOP, "--json")) == ["own"]


# What is doubted


def test_the_recommended_order_is_not_doubted(shop: Shop, run: Run) -> None:
    shop(payments=Pipeline(*stack()))
    ran = run("lint", SHOP)
    assert (ran.code, ran.out, ran.err) == (0, "0 doubts in 1 composition\n", "")
    assert codes(*stack(), coroutine=True) == []


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("doubtful", [CircuitBreaker(), retry(on=OSError)]),
        ("doubtful", [retry(on=ConnectionError), timeout(1)]),
        ("unbounded", [Bulkhead(2, max_wait=None)]),
        ("unbounded", [retry(on=OSError, attempts=None)]),
        ("unbounded", [Bulkhead(2, max_wait=None), timeout(3)]),
        ("hidden-attempts", [RateLimiter(5), retry(on=OSError)]),
        ("hidden-attempts", [AdaptiveThrottle(), retry(on=OSError)]),
        ("cache-inside", [CircuitBreaker(), Cache(5)]),
        ("cache-inside", [RateLimiter(5), Cache(5)]),
        ("wait-too-long", [timeout(5), Bulkhead(2, max_wait=5)]),
        ("wait-too-long", [timeout(5), RateLimiter(2, max_wait=7)]),
        ("second-attempt", [timeout(5), retry(on=TimedOut), timeout(3)]),
        ("any-error", [retry(on=Exception)]),
        ("any-error", [fallback(0, on=Exception)]),
        ("many-calls", [retry(on=OSError, attempts=11)]),
    ],
)
def test_each_rule_doubts_what_it_is_about(code: str, parts: list[Any]) -> None:
    assert codes(*parts) == [code]


@pytest.mark.parametrize(
    "parts",
    [
        [timeout(9), Bulkhead(2, max_wait=None)],
        [timeout(9), retry(on=OSError, attempts=None)],
        [retry(on=OSError), RateLimiter(5)],
        [RateLimiter(5), retry(on=OSError, attempts=1)],
        [Cache(5), CircuitBreaker(), RateLimiter(5)],
        [timeout(5), Bulkhead(2, max_wait=4.9)],
        [timeout(5), retry(on=TimedOut), timeout(2.5)],
        [timeout(5), timeout(3)],
        [retry(on=OSError, attempts=10)],
        [retry(on=OSError)],
        [CircuitBreaker()],
    ],
)
def test_what_is_as_it_should_be_is_not_doubted(parts: list[Any]) -> None:
    assert codes(*parts) == []


def test_a_coroutine_function_needs_a_timeout_where_a_place_or_a_verdict_waits_for_it(shop: Shop, run: Run) -> None:
    assert codes(Bulkhead(2), coroutine=True) == ["no-timeout"]
    assert codes(CircuitBreaker(), coroutine=True) == ["no-timeout"]
    assert codes(CircuitBreaker(), timeout(2), coroutine=True) == []
    assert codes(retry(on=OSError), coroutine=True) == []

    @CircuitBreaker()
    async def hangs() -> None: ...

    @CircuitBreaker()
    def returns() -> None: ...

    shop(hangs=hangs, returns=returns)
    assert [doubt["where"] for doubt in run("lint", SHOP, "--json").json["doubts"]] == [[f"{SHOP}:hangs"]]


def test_stacked_decorators_are_doubted_as_one(shop: Shop, run: Run) -> None:
    breaker, seats = CircuitBreaker(), Bulkhead(2)

    @breaker
    @retry(on=OSError)
    def hides() -> None: ...

    @timeout(2, sync="deadline")
    @timeout(5, sync="deadline")
    def never() -> None: ...

    @seats
    @Pipeline(retry(on=OSError), seats)
    def twice() -> None: ...

    shop(hides=hides, never=never, twice=twice)
    ran = run("lint", SHOP, "--json")
    assert ran.code == 1
    found = {doubt["where"][0].removeprefix(f"{SHOP}:"): (doubt["code"], doubt["text"]) for doubt in ran.json["doubts"]}
    assert found["hides"][0] == "doubtful"
    assert found["never"][0] == "senseless"
    senseless = [doubt["text"] for doubt in ran.json["doubts"] if doubt["code"] == "senseless"]
    assert any("stands twice" in text for text in senseless)
    assert any("can never expire" in text for text in senseless)


def test_the_gravest_comes_first_and_nothing_twice() -> None:
    parts = [CircuitBreaker(), retry(on=Exception, attempts=12, max_wait=None), Cache(1)]
    assert codes(*parts) == ["doubtful", "unbounded", "cache-inside", "any-error", "many-calls"]


def test_people_are_told_where_and_what_to_write(shop: Shop, run: Run) -> None:
    shared = Pipeline(retry(on=Exception))

    @shared
    def get() -> None: ...

    shop(shared=shared, get=get, other=Pipeline(timeout(3)))
    ran = run("lint", SHOP)
    assert ran.code == 1
    assert ran.out == (
        f"{SHOP}:shared, {SHOP}:get: any-error: retry: up to 3 calls on Exception: it repeats also a TypeError or "
        "KeyError, a mistake that only a programmer can mend; name the errors that you expect\n"
        "1 doubt in 3 compositions\n"
    )


def test_a_part_is_judged_with_what_is_around_it(shop: Shop, run: Run) -> None:
    inner = Pipeline(retry(on=OSError, attempts=None))
    shop(inner=inner)
    assert run("lint", SHOP).code == 1
    shop(inner=inner, outer=Pipeline(timeout(5), inner))
    assert run("lint", SHOP).code == 0

    @inner
    def on_its_own() -> None: ...

    shop(inner=inner, outer=Pipeline(timeout(5), inner), on_its_own=on_its_own)
    assert run("lint", SHOP).code == 1


def test_a_doubt_can_be_meant(shop: Shop, run: Run) -> None:
    shop(sure=Pipeline(retry(on=Exception, attempts=20)))
    assert [doubt["code"] for doubt in run("lint", SHOP, "--json").json["doubts"]] == ["any-error", "many-calls"]
    assert run("lint", SHOP, "--ignore", "any-error").code == 1
    assert run("lint", SHOP, "--ignore", "any-error", "--ignore", "many-calls").code == 0
    ran = run("lint", SHOP, "--ignore", "nothing")
    assert ran.code == 2
    assert "many-calls" in ran.err


def test_several_modules_are_looked_at_once_each(shop: Shop, run: Run) -> None:
    shop(one=Pipeline(timeout(2)), two=Pipeline(timeout(3)))
    assert run("lint", SHOP, f"{SHOP}:one", f"{SHOP}:two").out == "0 doubts in 2 compositions\n"


def test_every_code_is_in_the_help(run: Run) -> None:
    told = run("lint", "--help").out
    assert all(f"  {code} " in told for code in CODES)


LAYERS = st.builds(
    Traits,
    st.sampled_from(Role),
    st.just("layer"),
    most_calls=st.sampled_from([1, 2, 5, 1e300, inf]),
    seconds=st.sampled_from([0.5, 3, inf]),
    cuts=st.booleans(),
    waits=st.sampled_from([0.0, 4.0, 1e308, inf]),
)


@given(traits=st.lists(LAYERS, max_size=5), coroutine=st.booleans())
def test_any_composition_can_be_judged(traits: list[Traits], coroutine: bool) -> None:
    found = doubts(traits, coroutine=coroutine)
    assert len(set(found)) == len(found)
    assert all(doubt.code in CODES for doubt in found)
    assert ("unbounded" in [doubt.code for doubt in found]) == promises(traits)["worst case"].startswith("unbounded")


# What goes wrong


@pytest.mark.parametrize("verb", ["explain", "lint"])
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "names no module"),
        (":payments", "names no module"),
        (f"{SHOP}:", "names no module"),
        ("no_such_module", "importing 'no_such_module' raised ModuleNotFoundError"),
        (f"{SHOP}:nothing", f"'{SHOP}' has no 'nothing'"),
        (f"{SHOP}:number", "is 7, which no policy guards"),
        (f"{SHOP}:plain", "which no policy guards"),
        (f"{SHOP}:Bulkhead", "which no policy guards"),
        (SHOP, "there is no pipeline in it"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_does(shop: Shop, run: Run, verb: str, target: str, why: str) -> None:
    shop(number=7, plain=lambda: None, Bulkhead=Bulkhead)
    ran = run(verb, target)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert why in ran.err
    assert "give module, or module:name" in ran.err or "importing" in ran.err


def test_a_command_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "clients_of_this_test.py").write_text(
        "from resilience import *\npayments = Pipeline(CircuitBreaker('p'), retry(on=OSError))\n"
    )
    (tmp_path / "wrong_of_this_test.py").write_text("from resilience import *\nPipeline(timeout(1), timeout(2))\n")

    def python(*words: str) -> "subprocess.CompletedProcess[str]":
        source = str(Path(resilience.__file__).parents[1])
        return subprocess.run(
            [sys.executable, "-m", "resilience", *words],
            cwd=tmp_path, env={"PYTHONPATH": source}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = python("lint", "clients_of_this_test")
    assert done.returncode == 1
    assert done.stdout.startswith("clients_of_this_test:payments: doubtful: a retry inside a circuit breaker hides")
    assert done.stderr == ""  # nothing is said twice
    assert python("explain", "clients_of_this_test").returncode == 0
    (tmp_path / "script_of_this_test.py").write_text("import sys\nsys.exit(0)\n")
    done = python("lint", "script_of_this_test")
    assert (done.returncode, done.stdout) == (2, "")  # what was not looked at is not without doubt
    assert "raised SystemExit: 0" in done.stderr
    done = python("lint", "wrong_of_this_test")
    assert done.returncode == 2
    assert "raised ValueError: the inner timeout (2 s) can never expire" in done.stderr
