"""The pages for people who come from elsewhere name everything that they may be looking for."""

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import backoff
import circuitbreaker
import pybreaker
import pytest
import stamina
import tenacity

PAGES = Path(__file__).parent.parent / "docs" / "migrating"

INNARDS = {
    # How tenacity's loop talks to itself.
    *("NO_RESULT", "BaseAction", "BaseRetrying", "DoAttempt", "DoSleep", "Future", "RetryAction", "WrappedFn"),
    *("AttemptManager", "RetryCallState", "retry_base", "sleep"),
    # What does nothing, and is a default.
    *("after_nothing", "before_nothing", "before_sleep_nothing"),
    # The classes that stamina's other names make or take.
    *("Attempt", "BoundAsyncRetryingCaller", "BoundRetryingCaller", "instrumentation"),
    *("RetryHook", "RetryHookFactory", "get_prometheus_counter", "testing"),
    # What circuitbreaker's monitor keeps, and who fills it.
    *("circuit_breakers", "register"),
}
# Another spelling of a name on the page.
SAME = {
    "wait_full_jitter": "wait_random_exponential",
    "add_excluded_exceptions": "add_excluded_exception",
    "add_listeners": "add_listener",
    "excluded_exceptions": "exclude",
}


def options_of(*functions: object) -> Iterator[str]:
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
                yield name


def members_of(kind: type) -> Iterator[str]:
    return (name for name in vars(kind) if not name.startswith("_"))


FEATURES = {
    "tenacity": [*tenacity.__all__, *options_of(tenacity.BaseRetrying)],
    "stamina": [
        *stamina.__all__,
        *stamina.instrumentation.__all__,
        *options_of(stamina.retry, stamina.set_testing),
        *members_of(stamina.Attempt),
        *stamina.instrumentation.RetryDetails.__slots__,
    ],
    "pybreaker": [
        *(name for name in pybreaker.__all__ if not name.startswith("STATE_")),
        *options_of(pybreaker.CircuitBreaker),
        *members_of(pybreaker.CircuitBreaker),
        *members_of(pybreaker.CircuitBreakerListener),
    ],
    "circuitbreaker": [
        *options_of(circuitbreaker.circuit),
        *(name for name in members_of(circuitbreaker.CircuitBreaker) if not name.startswith("call_")),
        *members_of(circuitbreaker.CircuitBreakerMonitor),
        "CircuitBreakerError",
    ],
    "backoff": [
        *backoff.__all__,
        *options_of(backoff.on_exception, backoff.on_predicate, backoff.expo, backoff.constant, backoff.runtime),
    ],
}


@pytest.mark.parametrize("library", FEATURES)
def test_of_the_version_that_was_read_the_page_names_every_option_and_feature(library: str) -> None:
    page = (PAGES / f"{library}.md").read_text()
    read = re.search(rf"What is said here of {library}\s+was\s+read\s+in\s+the\s+source\s+of\s+([\d.]+\d)", page)
    assert read is not None
    if version(library) != read[1]:
        pytest.skip(f"the page was written for {library} {read[1]}, and here is {version(library)}")
    table = page.partition("## There and here")[2].partition("\n## ")[0]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert {SAME.get(name, name) for name in FEATURES[library]} - INNARDS - named == set()
