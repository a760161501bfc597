"""Every policy that holds state, for as long as somebody holds the policy.

Kept weakly: nothing here keeps a policy alive. Four things need to find them all: the registry of named policies, the
warning about twins, a fork (locks and leases of the parent mean nothing in the child), and the sandbox of the test kit
(each policy starts calm inside and is as before afterwards).
"""

import inspect
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .errors import ResilienceWarning


class Live(Protocol):
    """What a policy with state can do for those who look after all of them."""

    @property
    def kind(self) -> str:
        """Which pattern it is."""
        ...

    @property
    def name(self) -> str | None:
        """The name it was given, if any."""
        ...

    def _shelve(self) -> Callable[[], None]:
        """Start calm, as if just made; returns what puts the present state back, counters included."""
        ...

    def _after_fork(self) -> None:
        """In a forked child: new locks, no leases, no timers, counted state kept."""
        ...


_lock = threading.Lock()
_all: "weakref.WeakSet[Any]" = weakref.WeakSet()
_made_at: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()


def enrol(policy: Live) -> None:
    """Note a new policy; warn when a live one has the same class and name, and say where both were made."""
    where = _caller()
    with _lock:
        twin = _twin_of(policy)
        there = _made_at.get(twin, "an unknown place") if twin is not None else ""
        _all.add(policy)
        _made_at[policy] = where
    if twin is not None:
        warnings.warn(
            f"a second {type(policy).__name__} named {policy.name!r} was made at {where}; the first was made at "
            f"{there}. They do not share their state: make one and share it, or give each a name of its own",
            ResilienceWarning,
            stacklevel=3,
        )


def living(kind: str | None = None) -> list[Any]:
    """All policies with state that are alive now, or those of one kind."""
    with _lock:
        return [policy for policy in _all if kind in {None, policy.kind}]


def shelve_all() -> Callable[[], None]:
    """Make every policy calm; returns what puts every state back. A policy made in between is made calm then."""
    put_back = {id(policy): (weakref.ref(policy), policy._shelve()) for policy in living()}

    def restore() -> None:
        for policy in living():
            reference, action = put_back.get(id(policy), (None, None))
            if reference is not None and reference() is policy and action is not None:
                action()
            else:
                policy._shelve()

    return restore


def _twin_of(policy: Live) -> Live | None:
    if policy.name is None:
        return None
    return next((other for other in _all if type(other) is type(policy) and other.name == policy.name), None)


def _caller() -> str:
    """The line outside this package that makes the policy."""
    for frame in _frames():
        if frame.f_globals.get("__name__", "").partition(".")[0] != "resilience":
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return "an unknown place"


def _frames() -> Iterator[Any]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for policy in living():
        policy._after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
