"""Finding the policies that are alive, and keeping none of them so."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from resilience import Bulkhead, CircuitBreaker, ResilienceWarning, find, policies, retry
from resilience import _live as live
from resilience.testing import sandbox


def named(*kinds: type) -> list[str | None]:
    """The names of this test module's policies, in the registry's order."""
    return [
        policy.name for policy in policies() if (policy.name or "").startswith("reg-") and isinstance(policy, kinds)
    ]


def test_policies_are_listed_by_name_and_class() -> None:
    kept = [CircuitBreaker("reg-b"), Bulkhead(1, name="reg-c"), CircuitBreaker("reg-a"), Bulkhead(1), CircuitBreaker()]
    assert named(CircuitBreaker, Bulkhead) == ["reg-a", "reg-b", "reg-c"]
    assert [policy.name for policy in policies(Bulkhead) if policy.name == "reg-c"] == ["reg-c"]
    assert kept[0] not in policies(Bulkhead)
    assert kept[3] not in policies()  # it has no name
    assert kept[3] in live.living()


def test_recipes_are_not_listed() -> None:
    recipe = retry(on=OSError, name="reg-recipe")
    assert recipe not in policies()


def test_find() -> None:
    kept = CircuitBreaker("reg-find"), Bulkhead(1, name="reg-find")
    assert find(CircuitBreaker, "reg-find") is kept[0]
    assert find(Bulkhead, "reg-find") is kept[1]
    with pytest.raises(LookupError, match=r"no live CircuitBreaker is named 'reg-fidn'; there is reg-find"):
        find(CircuitBreaker, "reg-fidn")
    with pytest.raises(LookupError, match=r"no live Bulkhead is named 'quite-another-thing'; there is .*reg-find"):
        find(Bulkhead, "quite-another-thing")

    class Unused(Bulkhead):
        __slots__ = ()

    with pytest.raises(LookupError, match="no live Unused is named 'reg-find'; there is none now"):
        find(Unused, "reg-find")


@pytest.mark.parametrize(
    "make", [lambda: CircuitBreaker("reg-gone"), lambda: Bulkhead(1, name="reg-gone")], ids=["breaker", "bulkhead"]
)
def test_a_policy_that_nobody_holds_is_gone(make: Any) -> None:
    policy = make()
    guarded = policy(divmod)
    guarded(7, 2)
    reference = weakref.ref(policy)
    del policy
    gc.collect()
    assert reference() is not None  # the function that it guards holds it
    del guarded
    gc.collect()
    assert reference() is None
    assert named(CircuitBreaker, Bulkhead) == []
    make()  # and a new one of the same name is no twin


def test_twins_warn_with_both_places() -> None:
    first = CircuitBreaker("reg-twin")  # the first place
    with pytest.warns(ResilienceWarning, match="a second CircuitBreaker named 'reg-twin'") as caught:
        second = CircuitBreaker("reg-twin")  # the second place
    assert len(caught) == 1
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    there = next(number for number, line in enumerate(lines, 1) if line.endswith("# the first place"))
    here = next(number for number, line in enumerate(lines, 1) if line.endswith("# the second place"))
    assert f"was made at {__file__}:{here}; the first was made at {__file__}:{there}" in str(caught[0].message)
    assert (caught[0].filename, caught[0].lineno) == (__file__, here)
    assert first is not second
    Bulkhead(1, name="reg-twin")  # another class is no twin
    CircuitBreaker()
    CircuitBreaker()  # nor are those without a name


def raises() -> None:
    raise ConnectionError


def test_a_sandbox_starts_calm_and_puts_back_what_was() -> None:
    breaker, bulkhead = CircuitBreaker("reg-sandbox", trip=1), Bulkhead(2)
    with pytest.raises(ConnectionError):
        breaker.call(raises)
    held = bulkhead.admit()
    before = breaker.stats.failures, breaker.stats.opened, bulkhead.stats
    with sandbox():
        assert (breaker.state, breaker.stats.failures, bulkhead.stats.in_use) == ("closed", 0, 0)
        made_inside = CircuitBreaker(trip=1)
        inside = bulkhead.admit(), bulkhead.admit()
        with pytest.raises(ConnectionError):
            made_inside.call(raises)
        assert made_inside.state == "open"
    assert (breaker.stats.failures, breaker.stats.opened, bulkhead.stats) == before
    assert breaker.state == "open"
    assert made_inside.state == "closed"
    for lease in inside:
        lease.release()  # of the calm state, which is gone
    assert bulkhead.stats.in_use == 1
    held.release()
    assert bulkhead.stats.in_use == 0


def test_sandboxes_nest() -> None:
    breaker = CircuitBreaker(trip=1)
    with sandbox():
        with pytest.raises(ConnectionError):
            breaker.call(raises)
        with sandbox():
            assert breaker.state == "closed"
        assert breaker.state == "open"
    assert breaker.state == "closed"
