"""What a `Keyed` keeps for a key: its policy, and what that has made of the functions it guards.

A call must find both with one look: so each function has a table of its own, from keys to uses, and whoever refers to a
`Use` refers to the `Member` behind it. That is how a member knows whether it is in use: it counts who refers to it.

    Table of a function ── key ──► Use ──► Member ──► the policy of the key
                                    ▲         │
                                    └─────────┘  until it is dropped
"""

import sys
from collections.abc import Callable, Hashable, Iterable
from operator import le
from typing import Any

from ._layer import SupportsBind

_FEW = 8
"""Functions whose shells a policy keeps: those it is decorated with. `call` makes one for each call."""


class Table:
    """One function, and its shells by key.

    Attributes:
        make: Guards the function with a policy.
        uses: Those of keys that are on the ring. Anybody may look; all else happens under the lock.
    """

    __slots__ = ("make", "uses")

    def __init__(self, make: Callable[[SupportsBind], Callable[..., Any]]) -> None:
        self.make = make
        self.uses: dict[Hashable, Use] = {}


class Use:
    """One function, guarded by the policy of one key.

    Attributes:
        asked: Whether a call has asked for it since the last look.
        member: Whose policy that is. Who has a use has this, too.
        shell: The guarded function.
        table: Where it is found.
    """

    __slots__ = ("asked", "member", "shell", "table")

    def __init__(self, member: "Member", table: Table) -> None:
        self.asked = False
        self.member = member
        self.shell = table.make(member.policy)
        self.table = table


class Member:
    """The policy of one key. Whoever makes a call through it refers to it meanwhile.

    Args:
        policy: The policy.
        made: All that was made for this key, also deep inside of the policy.

    Attributes:
        asked: Whether it was asked for by itself, and not by a call, since the last look.
        policy: The policy.
    """

    __slots__ = ("_own", "_references", "_uses", "asked", "policy")

    def __init__(self, policy: SupportsBind, made: Iterable[Any]) -> None:
        self.policy = policy
        self.asked = False
        self._own = tuple(made)
        self._references: list[int] = []
        self._uses: list[Use] = []

    def asked_since(self) -> bool:
        """See `Entry.asked_since`: by itself, or by a call."""
        asked = self.asked or any(use.asked for use in self._uses)
        self.asked = False
        for use in self._uses:
            use.asked = False
        return asked

    @property
    def calm(self) -> bool:
        """Whether nothing that was made for this key has anything to remember."""
        return all(one.calm for one in self._own)

    def use(self, table: Table) -> Use | None:
        """What it has made of a function, if it still has that."""
        return next((use for use in self._uses if use.table is table), None)

    def keep(self, key: Hashable, use: Use) -> None:
        """Have a use again when it is asked for."""
        if len(self._uses) >= _FEW:
            self.drop(key)
        self._uses.append(use)

    def drop(self, key: Hashable) -> None:
        """Forget all uses, those of its key wherever they are found; calls that run have theirs."""
        for use in self._uses:
            use.table.uses.pop(key, None)
        self._uses = []

    def settle(self) -> None:
        """Nobody refers to it but the caller: how many references are that?"""
        self._references = self._count()

    def free(self, key: Hashable) -> bool:
        """Whether again nobody refers to it, or to what was made for its key, but the caller.

        Where Python does not count references, nothing is ever free.
        """
        self.drop(key)  # uses refer to it, too
        now = self._count()
        return bool(now) and all(map(le, now, self._references))

    def _count(self) -> list[int]:
        return [] if _count is None else [_count(one) for one in (self, *self._own)]


_count: Callable[[object], int] | None = getattr(sys, "getrefcount", None)
