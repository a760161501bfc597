"""What is left alone until it is needed: seen in a fresh interpreter, not by a stopwatch."""

import subprocess
import sys

import pytest

import resilience

OTHERS = ("anyio", "asyncio", "logging", "msgspec", "opentelemetry", "sqlite3", "tenacity", "trio")
HEAVY = (
    "asyncio",
    "msgspec",
    "sqlite3",
    "tenacity",
    "trio",
    "resilience.saga",
    "resilience.simulate",
    "resilience.testing",
)


def loaded(program: str, names: tuple[str, ...]) -> list[str]:
    """Which of the modules a fresh interpreter has loaded after a program."""
    code = f"import sys\n{program}\nprint(*[name for name in sys.modules if name.startswith({names!r})])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_the_front_door_loads_nothing_by_itself() -> None:
    assert loaded("import resilience", (*OTHERS, "resilience.")) == []


@pytest.mark.parametrize("use", ["CircuitBreaker()", "Bulkhead(3)", "Pipeline()", "RateLimiter(3)", "deadline(3)"])
def test_a_policy_loads_what_it_needs(use: str) -> None:
    assert loaded(f"import resilience\nresilience.{use}", HEAVY) == []


def test_every_name_is_there() -> None:
    assert sorted({*resilience._HOMES, *resilience._MODULES}) == sorted(resilience.__all__)
    assert all(getattr(resilience, name) is not None for name in resilience.__all__)
    assert set(resilience.__all__) <= set(dir(resilience))
    with pytest.raises(AttributeError, match="has no attribute 'breaker'"):
        resilience.breaker  # noqa: B018 - to look is enough
