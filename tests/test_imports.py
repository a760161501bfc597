"""What `import resilience` leaves alone until it is needed: seen in a fresh interpreter, not by a stopwatch."""

import subprocess
import sys

WAITS = ("asyncio", "sqlite3", "tenacity", "trio", "resilience.saga", "resilience.simulate", "resilience.testing")
WAITS_FOR_A_METER = ("importlib.metadata",)  # the first policy that keeps totals asks for a meter


def loaded(names: tuple[str, ...], use: str = "") -> list[str]:
    """Which of the modules a fresh interpreter has loaded."""
    code = f"import resilience, sys\n{use}\nprint(*[name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_what_can_wait_is_not_imported() -> None:
    assert loaded(WAITS + WAITS_FOR_A_METER) == []


def test_a_breaker_does_not_bring_it_either() -> None:
    assert loaded(WAITS, "resilience.CircuitBreaker('payments')") == []
