"""`Keyed`: a policy for each key, and memory for few of them.

One tenant, host or account must not feel what another one has done, so each has a policy of its own, made when it is
first asked for. There may be millions of keys. But a policy that is *calm* is like one just made, so it need not be
kept: what is absent is calm, and a key that is well costs nothing. Only what is not calm has to be remembered.

Nor may be forgotten what is in use, or two policies would guard one key at a time. In use is what anybody refers to: a
call that runs, a lease, a variable. Python counts that already; so a call that finds its policy counts nothing, takes
no lock, and has nothing to give back. To let go of a policy is: under the lock take it off the ring and out of every
table, where nobody can get hold of it any more; see that nobody has; then, as now nobody can change it, ask whether it
is calm. The same goes for a policy that many keys share, for want of room: they do so until it can be let go of.

Which key is looked at next is in `_core.keyring`, what is kept for a key in `_members`; here are the lock, the key of a
call, and the two shells.
"""

import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from . import _checks, _live, _totals
from ._compose import acompose, compose, guarded_function
from ._core.keyring import Keyring
from ._family import making_for
from ._layer import Layer, SupportsBind
from ._members import Member, Table, Use
from ._metrics import POLICY_NAME, Instrument, Reading, declare
from ._policy import Policy, Shared
from ._traits import Role, Traits

_MAXSIZE = 10_000

_SHARERS = 10_000
"""The most keys of which it is known that they share a policy."""

_SHARED = object()
"""The key of the policy that those share for whom there is no room."""

Arguments = tuple[Any, ...]
Named = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeyedStats:
    """Keys at one moment.

    Attributes:
        keys: How many have a policy of their own now.
        maxsize: How many may have.
        made: How many policies were made; it never falls.
        shared: How many times a key had to share a policy with others, for there was no room; it never falls.
    """

    keys: int
    maxsize: int
    made: int
    shared: int


class Keyed(Shared):
    """A policy for each key: for each tenant, host, account.

    A policy is made when its key is first asked for, and forgotten when there are too many keys, it is calm, and nobody
    uses it: the next one of that key is made anew, and calm as well. What is not calm (an open circuit, failures that
    count, permits that are spent, calls under way) is never forgotten. If no key can be forgotten, those that are new
    share one policy, until that is calm, nobody uses it, and there is room. State is per process.

    Args:
        factory: Makes the policy for a key: `factory(key)`. It may be asked twice for the same key at the same time;
            one policy is used then. What it makes has no name, for a name is on metrics, where no key may be.
        key: Which key a call has: the name of a parameter, or a function of its arguments. `1` and `1.0` are one key.
        maxsize: The most keys that have a policy of their own. Default 10,000.
        name: What errors, events and telemetry call it, and the policies of all keys.

    Raises:
        TypeError: A parameter is of the wrong kind.
        ValueError: A parameter makes no sense.

    Example:
        ```python
        tenants = Keyed(lambda tenant: CircuitBreaker(), key="tenant", name="tenants")

        @tenants
        def deliver(tenant, message): ...

        tenants["acme"].state
        ```
    """

    __slots__ = ("_factory", "_key", "_lock", "_others", "_sharers", "_totals", "ring")

    kind = "keyed"

    def __init__(
        self,
        factory: Callable[[Any], SupportsBind],
        *,
        key: str | Callable[..., Hashable],
        maxsize: int = _MAXSIZE,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._factory = _checked_factory(factory)
        self._key = _checked_key(key)
        self.ring: Keyring[Member] = Keyring(_checks.whole("maxsize", maxsize))
        self._others: dict[Hashable, Member] = {}  # the one that is shared, if any
        self._sharers: set[Hashable] = set()
        # A lock that its own thread may take again: a call may also be made in a finalizer or a signal handler.
        self._lock = threading.RLock()
        self._totals = _totals.Totals("made", "shared")
        _totals.file(self, self._totals)
        _live.enrol(self)

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Wrap a plain function; most users want the decorator."""
        position, key = key_of_call(guarded_function(fn), self._key, self.label)
        table, ready = Table(lambda policy: compose((policy,), fn)), self._ready
        uses = table.uses

        def call(*args: Any, **kwargs: Any) -> Any:
            asked, use = args[position] if len(args) > position else key(args, kwargs), None
            try:
                use = uses[asked]  # to refer to it is to use it, for as long as the call runs
                use.asked = True
            except (KeyError, TypeError):
                pass
            if use is None:
                use = ready(table, asked)
            result = use.shell(*args, **kwargs)
            return result

        return call

    def abind(self, fn: Callable[..., Awaitable[Any]], /) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function; most users want the decorator."""
        position, key = key_of_call(guarded_function(fn), self._key, self.label)
        table, ready = Table(lambda policy: acompose((policy,), fn)), self._ready
        uses = table.uses

        async def call(*args: Any, **kwargs: Any) -> Any:
            asked, use = args[position] if len(args) > position else key(args, kwargs), None
            try:
                use = uses[asked]  # to refer to it is to use it, for as long as the call runs
                use.asked = True
            except (KeyError, TypeError):
                pass
            if use is None:
                use = ready(table, asked)
            result = await use.shell(*args, **kwargs)
            return result

        return call

    def __getitem__(self, key: Hashable) -> Any:
        """The policy of a key, made now if there is none: to look at it, to operate it, or to guard a block with it.

        While it is held, it is not forgotten.

        Raises:
            TypeError: The key cannot be hashed, or the factory made no policy.
        """
        member = self._find(key)
        member.asked = True
        return member.policy

    def traits(self) -> Traits:
        """What a pipeline needs to know about this policy. What is made for a key, it cannot know."""
        by = f"each {self._key}" if isinstance(self._key, str) else "each key"
        return Traits(Role.CUSTOM, f"keyed: a policy for {by}, up to {self.ring.most:,} of them", opaque=True)

    @property
    def calm(self) -> bool:
        """See `Layer.calm`: no policy of any key has anything to remember."""
        with self._lock:
            members = [*self.ring.entries.values(), *self._others.values()]
        return all(member.calm for member in members)

    @property
    def stats(self) -> KeyedStats:
        """How things stand at this moment."""
        counts = self._totals.read()
        return KeyedStats(len(self.ring.entries), self.ring.most, counts["made"], counts["shared"])

    def _ready(self, table: Table, key: Hashable) -> Use:
        """All but the usual: a key that has no policy, or whose policy was not asked to guard this function."""
        member = self._find(key)  # not `asked` yet: a key that never comes again goes before one that does
        use = member.use(table) or Use(member, table)  # makes a shell: maybe the user's code, so not under the lock
        with self._lock:
            if self.ring.entries.get(key) is member:
                member.keep(key, use)
                table.uses[key] = use
            elif member is self._others.get(_SHARED):
                member.keep(key, use)
        return use

    def _find(self, key: Hashable) -> Member:
        """The policy of a key, made now if there is none; that of all others if there is no room for it."""
        found = self._known(key)
        if found is not None:
            return found
        made = self._make(key)  # the user's code, so not under the lock
        with self._lock:
            found = self.ring.entries.get(key)
            if found is not None:
                return found
            if self._may_have_its_own(key):
                self.ring.entries[key] = made
                return made
            self._others.setdefault(_SHARED, made)
            return self._shared(key)

    def _known(self, key: Hashable) -> Member | None:
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"{self.label}: the key is a {type(key).__name__}, which cannot be hashed; give something hashable (a "
                "tuple for a list, say), or make key= a function that does"
            ) from None
        with self._lock:
            found = self.ring.entries.get(key)
            if found is None and self._others and not self._may_have_its_own(key):
                return self._shared(key)
            return found

    def _may_have_its_own(self, key: Hashable) -> bool:
        """Whether there is room for a key, and no shared policy remembers it or is in use for it."""
        if not self.ring.make_room(partial(self._let_go, held=self.ring.entries)):
            return False
        if self._shares(key) and self._let_go(_SHARED, self._others):
            self._sharers.clear()
        return not self._shares(key)

    def _shares(self, key: Hashable) -> bool:
        """Whether a key has shared the policy that is shared; when there were too many to know, all have."""
        return _SHARED in self._others and (key in self._sharers or len(self._sharers) >= _SHARERS)

    def _shared(self, key: Hashable) -> Member:
        self._totals.add("shared")
        if len(self._sharers) < _SHARERS:
            self._sharers.add(key)
        return self._others[_SHARED]

    def _make(self, key: Hashable) -> Member:
        with making_for(self.name or "") as made:
            policy: object = self._factory(key)
        # Asked of nearly all, `isinstance(policy, SupportsBind)` would take as long as all else here.
        if not isinstance(policy, Layer) and (isinstance(policy, type) or not isinstance(policy, SupportsBind)):
            raise TypeError(f"{self.label}: factory must make a policy (with bind and abind), got {policy!r}")
        self._totals.add("made")
        member = Member(policy, made)
        made.clear()
        del policy
        member.settle()
        return member

    def _let_go(self, key: Hashable, held: dict[Hashable, Member]) -> bool:
        """Forget a policy, unless it has something to remember or is in use; whether it is gone."""
        gone = False
        member = held.pop(key)
        try:
            gone = member.calm and member.free(key) and member.calm
        finally:
            if not gone:
                held[key] = member
        return gone

    def _shelve(self) -> Callable[[], None]:
        with self._lock:
            put_totals_back, shelved = self._totals.shelve(), (self.ring, self._others, self._sharers)
            self._hide()
            self.ring, self._others, self._sharers = Keyring(self.ring.most), {}, set()

        def put_back() -> None:
            with self._lock:
                put_totals_back()
                self._hide()
                self.ring, self._others, self._sharers = shelved

        return put_back

    def _hide(self) -> None:
        """Have no call find a policy without asking the ring."""
        for key, member in self.ring.entries.items():
            member.drop(key)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()


def key_of_call(
    fn: Callable[..., Any], key: str | Callable[..., Hashable], policy: str
) -> tuple[int, Callable[[Arguments, Named], Hashable]]:
    """How to get the key of a call: where it stands if it is given by position, and else by asking.

    Args:
        fn: The user's function.
        key: The name of one of its parameters, or a function of its arguments.
        policy: Who asks, for messages.

    Raises:
        ValueError: `key` names no parameter of the function that takes one argument.
    """
    if not isinstance(key, str):
        function = key
        return sys.maxsize, lambda args, named: function(*args, **named)
    signature = inspect.signature(fn)
    parameter = signature.parameters.get(key)
    if parameter is None or parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise ValueError(
            f"{policy}: key={key!r} names no parameter of {fn!r}, which has {', '.join(signature.parameters) or 'none'}"
            "; name one of them that takes one argument, or give a function of the call's arguments"
        )
    by_name = parameter.kind is parameter.KEYWORD_ONLY
    position = sys.maxsize if by_name else list(signature.parameters).index(key)

    def ask(args: Arguments, named: Named) -> Hashable:
        if key in named:
            return cast("Hashable", named[key])
        bound = signature.bind(*args, **named)  # raises what the function itself would raise
        bound.apply_defaults()
        return cast("Hashable", bound.arguments[key])

    return position, ask


def _checked_factory(factory: Any) -> Callable[[Any], Any]:
    if inspect.isclass(factory):
        raise TypeError(
            f"factory must be a function that makes a policy for a key, got the class {factory.__name__}, which would "
            f"be given the key for an option; write factory=lambda key: {factory.__name__}(...)"
        )
    if isinstance(factory, Policy):
        raise TypeError(
            f"factory must be a function that makes a policy for a key, got {factory!r}, one policy for all"
        )
    return _checks.takes_one("factory", factory)


def _checked_key(key: object) -> str | Callable[..., Hashable]:
    if isinstance(key, str):
        return _checks.text("key", key)
    if not callable(key) or isinstance(key, type) or inspect.iscoroutinefunction(key):
        raise TypeError(
            f"key must be the name of a parameter, or a plain function of the call's arguments, got {key!r}"
        )
    return key


def _usage() -> list[Reading]:
    return [(len(one.ring.entries), {POLICY_NAME: one.label}) for one in _live.living("keyed")]


declare(
    Instrument(
        "resilience.keyed.usage",
        "up_down_counter",
        "{key}",
        "Keys with a policy of their own",
        (POLICY_NAME,),
        _usage,
    )
)
declare(
    Instrument(
        "resilience.keyed.shared",
        "counter",
        "{call}",
        "Times that a key had to share a policy with others, for there was no room",
        (POLICY_NAME,),
        lambda: [(counts["shared"], {POLICY_NAME: name}) for name, counts in _totals.totals_of("keyed").items()],
    )
)
