"""The suite for journals: it passes what keeps the rules, and names the rule that a journal breaks."""

# ruff: noqa: A002 - a journal calls a saga's id `id`

import builtins
import re
import threading
from collections import UserDict
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any, ClassVar

import pytest

from resilience.errors import JournalUnavailable, LostOwnership, MessageRefused, UnknownSaga
from resilience.saga import MemoryJournal, check_journal
from resilience.saga import _bench as bench
from resilience.saga._conformance import RULES
from resilience.saga._journal import CONTROL, ENDED, OPEN, Letter, Opened, Row, Summary
from resilience.saga._memory import _File
from resilience.saga._pending import Pending, settled
from resilience.testing import sandbox

Broken = type["Memory"]
BROKEN: list[tuple[str, Broken]] = []


class Memory(MemoryJournal):
    """One whose other processes are of its own kind, so that what is broken in it is broken in all."""

    def process(self) -> "Memory":
        other = type(self)()
        other._begin(self._store)
        return other


def breaks(rule: str) -> Callable[[Broken], Broken]:
    """A journal that is wrong in one way, and the rule that finds it."""

    def add(broken: Broken) -> Broken:
        BROKEN.append((rule, broken))
        return broken

    return add


@breaks("answers_are_owed")
class AnswersItself(Memory):
    def check(self) -> Any:
        return []


@breaks("a_new_saga")
class OwnsNothingNew(Memory):
    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        opened = super().start(id, saga, body)
        self.release(id)
        return opened


@breaks("a_new_saga")
class CountsDays(Memory):
    def list(self, **filters: Any) -> Pending[list[Summary]]:
        return settled([found._replace(started=found.started / 86_400) for found in super().list(**filters).wait()])


@breaks("a_known_saga")
class AlwaysWrites(Memory):
    def _open(self, id_: str, body: bytes | None) -> Opened:
        self._store.files[id_].rows += [Row(0.0, body)] if body else []
        return super()._open(id_, None)


@breaks("a_known_saga")
class BeginsAnew(Memory):
    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        self._store.files.pop(id, None)
        return super().start(id, saga, body)


@breaks("an_unknown_saga")
class MakesWhatItOpens(Memory):
    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:
        return super().start(id, "Trip", body or b"")


@breaks("records_are_bytes")
class KeepsText(Memory):
    def read(self, id: str) -> Pending[list[Row] | None]:
        rows = super().read(id).wait() or []
        return settled([row._replace(body=row.body.decode(errors="replace").encode()) for row in rows] or None)


@breaks("records_are_bytes")
class DropsTheEmpty(Memory):
    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        return super().append(id, [body for body in bodies if body], status)


@breaks("ids_are_exact")
class IgnoresCase(Memory):
    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        return super().start(id.lower(), saga, body)


@breaks("ids_are_exact")
class TakesAnyId(Memory):
    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        if len(id) <= 200:
            return super().start(id, saga, body)
        self._store.files[id] = _File(saga, self, [Row(0.0, body)])
        return super().open(id)  # type: ignore[return-value]  # it is there


@breaks("appends_are_atomic")
class OneByOne(Memory):
    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        for body in bodies[:-1]:
            super().append(id, [body], status)
        return super().append(id, bodies[-1:], status)


@breaks("order_is_kept")
class LastInFirstOut(Memory):
    """Writes once somebody waits, beginning with what came last."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[Any, ...]] = []

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        self.stack.append((id, bodies, status))
        journal = self

        class Late(Pending[None]):
            def wait(self) -> None:
                journal.flush()

        return Late()

    def flush(self) -> None:
        while self.stack:
            super().append(*self.stack.pop()).wait()

    def release(self, id: str) -> Pending[None]:
        self.flush()
        return super().release(id)

    def close(self) -> None:
        self.flush()
        super().close()


@breaks("one_fails_alone")
class SpoilsTheNext(Memory):
    spoilt: Exception | None = None

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        if self.spoilt is not None:
            done, self.spoilt = settled(self.spoilt), None
            return done
        done = super().append(id, bodies, status, heard)
        self.spoilt = done.answer if isinstance(done.answer, LostOwnership) else None
        return done


@breaks("one_owner")
class TakesOverFromTheLiving(Memory):
    def _open(self, id_: str, body: bytes | None) -> Opened:
        if self._store.files[id_].owner is not self:
            self._store.files[id_].owner = None
        return super()._open(id_, body)


@breaks("one_owner")
class ReleasesWhatIsAnothers(Memory):
    def release(self, id: str) -> Pending[None]:
        self._store.files[id].owner = None
        return settled(None)


@breaks("released_ones_are_free")
class NeverReleases(Memory):
    def release(self, id: str) -> Pending[None]:
        return settled(None)


@breaks("released_ones_are_free")
class TakesOverInSilence(Memory):
    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:
        return super().open(id)


@breaks("released_ones_are_free")
class HasNoFence(Memory):
    """Whoever has owned a saga once may write to it."""

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        file = self._store.files.get(id)
        if file is not None and id in self.owned:
            file.owner = self
        return super().append(id, bodies, status, heard)

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        opened = super().start(id, saga, body)
        self.owned = {*self.owned, id} if opened.wait().owned else self.owned
        return opened

    owned: frozenset[str] | set[str] = frozenset()


@breaks("the_dead_own_nothing")
class LivesOn(Memory):
    def die(self) -> None:
        pass


@breaks("the_dead_own_nothing")
class WritesFromTheGrave(Memory):
    def die(self) -> None:
        super().die()
        self._killed = False

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        file = self._store.files.get(id)
        if not self.alive and file is not None:
            file.rows += [Row(0.0, body) for body in bodies]
        return super().append(id, bodies, status, heard)


@breaks("the_dead_own_nothing")
class ForgetsWhatIsRecent(Memory):
    def die(self) -> None:
        for file in self._store.files.values():
            del file.rows[1:]
        super().die()


@breaks("closing_keeps_all")
class StaysOpen(Memory):
    def close(self) -> None:
        if self._killed:
            super().close()


@breaks("closing_keeps_all")
class ClosesOnce(Memory):
    def close(self) -> None:
        if not self.alive and not self._killed:
            raise RuntimeError("closed already")
        super().close()


@breaks("closing_keeps_all")
class StartsEmpty(Memory):
    def process(self) -> Memory:
        return super().process() if self.alive or self._killed else StartsEmpty()


@breaks("one_of_many_begins")
class LooksThenBegins(Memory):
    barrier = threading.Barrier(8)

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        new = id not in self._store.files
        if not isinstance(threading.current_thread(), threading._MainThread):
            self.barrier.wait(10)
            if new:
                self._store.files.pop(id, None)
        return super().start(id, saga, body)


@breaks("one_of_many_takes_over")
class LooksThenTakesOver(Memory):
    barrier = threading.Barrier(20)

    def open(self, id: str, body: bytes | None = None) -> Pending[Opened | None]:
        if not isinstance(threading.current_thread(), threading._MainThread):
            self.barrier.wait(10)
            self._store.files[id].owner = None
        return super().open(id, body)


@breaks("the_end_is_the_end")
class OwnsWhatHasEnded(Memory):
    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        done = super().append(id, bodies, status, heard)
        if status in ENDED and not isinstance(done.answer, Exception):
            self._store.files[id].owner = self
        return done


@breaks("the_end_is_the_end")
class TakesOverWhatHasEnded(Memory):
    def _open(self, id_: str, body: bytes | None) -> Opened:
        opened = super()._open(id_, body)
        return opened._replace(owned=opened.owned or self._store.files[id_].status in ENDED)


@breaks("lists")
class NewestFirst(Memory):
    def list(self, **filters: Any) -> Pending[list[Summary]]:
        return settled(super().list(**filters).wait()[::-1])


@breaks("lists")
class ListsWithoutLimit(Memory):
    def list(self, *, limit: int | None = None, **filters: Any) -> Pending[list[Summary]]:
        return super().list(**filters)


@breaks("lists")
class ListsAllForNoStatus(Memory):
    def list(self, *, status: Collection[str] | None = None, **filters: Any) -> Pending[list[Summary]]:
        return super().list(status=status or None, **filters)


@breaks("lists")
class ListsAnyClass(Memory):
    def list(self, *, saga: str | None = None, **filters: Any) -> Pending[list[Summary]]:
        return super().list(**filters)


@breaks("finds")
class FindsWhatBeginsSo(Memory):
    def find(self, id: str) -> Pending[Summary | None]:
        listed = self.list().wait()
        return settled(next((found for found in listed if found.id.startswith(id)), None))


@breaks("finds")
class FindsCurrentOnes(Memory):
    def find(self, id: str) -> Pending[Summary | None]:
        found = super().find(id).wait()
        return settled(found if found and found.ended is None else None)


@breaks("finds")
class FindsNoOrphans(Memory):
    def find(self, id: str) -> Pending[Summary | None]:
        found = super().find(id).wait()
        return settled(found._replace(orphan=False) if found else None)


@breaks("orphans")
class OrphansOfAnyClass(Memory):
    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        return super().orphans({"Trip", "Move", "Other"})


@breaks("orphans")
class OrphansThatAreStuck(Memory):
    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        found = super().list(status={"open", "stuck"}).wait()
        return settled([summary.id for summary in found if summary.orphan and summary.saga in sagas])


@breaks("ends_are_told")
class TellsForEver(Memory):
    def told(self, id: str) -> Pending[None]:
        return settled(None)


@breaks("ends_are_told")
class TellsInAnyOrder(Memory):
    def untold(self, limit: int = 100, **filters: Any) -> Pending[list[Summary]]:
        return settled(super().untold(1_000, **filters).wait()[::-1][:limit])


@breaks("ends_are_told")
class TellsOfAnyClass(Memory):
    def untold(self, limit: int = 100, **filters: Any) -> Pending[list[Summary]]:
        return super().untold(limit)


@breaks("ends_are_told")
class IsToldTooEarly(Memory):
    def told(self, id: str) -> Pending[None]:
        for file in [self._store.files[id]] if id in self._store.files else []:
            file.told = True
        return settled(None)


@breaks("purges")
class PurgesAllThatIsOld(Memory):
    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        old = [id_ for id_, file in self._store.files.items() if file.rows[-1].at < before]
        for id_ in old:
            del self._store.files[id_]
        return settled(len(old))


@breaks("purges")
class PurgesInAnyWay(Memory):
    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        return super().purge(before=before)


@breaks("purges")
class PurgesWhatIsNew(Memory):
    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        return super().purge(before=before + 1e9, statuses=statuses)


@breaks("purges")
class KeepsLetters(Memory):
    stores: ClassVar[list[Any]] = []  # held, so that none has the number of another that is gone
    kept: ClassVar[dict[int, dict[str, list[Letter]]]] = {}

    def purge(self, *, before: float, statuses: Collection[str] = ()) -> Pending[int]:
        self.stores.append(self._store)
        kept = self.kept.setdefault(builtins.id(self._store), {})
        kept.update((id_, file.letters) for id_, file in self._store.files.items())
        return super().purge(before=before, statuses=statuses)

    def start(self, id: str, saga: str, body: bytes) -> Pending[Opened]:
        opened = super().start(id, saga, body)
        letters = self.kept.get(builtins.id(self._store), {}).get(id)
        return settled(opened.wait()._replace(letters=letters)) if letters else opened


@breaks("nothing_is_wrong")
class FindsFault(Memory):
    def check(self) -> Pending[list[str]]:
        return settled(["it is not to my taste"])


@breaks("letters_are_kept")
class ForgetsTheSender(Memory):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        return super().send(id, topic, value, "")


@breaks("letters_are_kept")
class FindsAllLetters(Memory):
    def letters(self, id: str, after: int = 0) -> Pending[list[Letter]]:
        return super().letters(id)


@breaks("letters_are_kept")
class CountsDownwards(Memory):
    numbers = count(1_000_000, -1)

    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        row = super().send(id, topic, value, who)
        if not isinstance(row.answer, Exception):
            letters = self._store.files[id].letters
            letters[-1] = letters[-1]._replace(row=next(self.numbers))
            return settled(letters[-1].row)
        return row


@breaks("letters_survive")
class TakesItsLettersAlong(Memory):
    def die(self) -> None:
        for file in self._store.files.values():
            file.letters.clear()
        super().die()


class _Sends(Memory):
    """One that takes every letter, or none, as its kind decides."""

    def _post(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        letters = self._store.files[id].letters
        letters.append(Letter(next(self._store.numbers), topic, value, who, 0.0))
        for watcher in getattr(self._store.files[id].owner, "_watchers", []):
            watcher({id})
        return settled(letters[-1].row)


@breaks("one_letter_for_a_topic")
class TakesEveryLetter(_Sends):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        return self._post(id, topic, value, who)


@breaks("one_letter_for_a_topic")
class SwallowsTheSecond(Memory):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        sent = super().send(id, topic, value, who)
        return settled(1) if isinstance(sent.answer, MessageRefused) else sent


@breaks("requests_in_any_number")
class TakesARequestOnce(Memory):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        for letter in super().letters(id).wait() if topic == CONTROL else []:
            if letter.value == value:
                return settled(letter.row)
        return super().send(id, topic, value, who)


@breaks("no_letters_after_the_end")
class TakesLateLetters(_Sends):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        file = self._store.files.get(id)
        ended = file is not None and file.status in ENDED
        return self._post(id, topic, value, who) if ended else super().send(id, topic, value, who)


@breaks("no_letters_after_the_end")
class KnowsNoUnknown(Memory):
    def send(self, id: str, topic: str, value: bytes, who: str) -> Pending[int]:
        sent = super().send(id, topic, value, who)
        return settled(JournalUnavailable("", id)) if isinstance(sent.answer, UnknownSaga) else sent


@breaks("nested_addresses")
class KnowsNoParts(Memory):
    def _addressee(self, id_: str, topic: str) -> tuple[str, _File, str]:
        return super()._addressee(id_.replace("/", " "), topic)


@breaks("nested_addresses")
class AlwaysNested(Memory):
    def _addressee(self, id_: str, topic: str) -> tuple[str, _File, str]:
        whole, slash, nested = id_.rpartition("/")
        return super()._addressee(whole, f"{nested}.{topic}") if slash else super()._addressee(id_, topic)


@breaks("nested_addresses")
class CancelsAPart(Memory):
    def _addressee(self, id_: str, topic: str) -> tuple[str, _File, str]:
        whole, file, part = super()._addressee(id_, "." if topic == CONTROL else topic)
        return whole, file, topic if part == "." else part


@breaks("watchers_hear")
class IsDeaf(Memory):
    def watch(self, function: Any) -> Callable[[], None]:
        return lambda: None


@breaks("watchers_hear")
class HearsItselfOnly(Memory):
    def _deliver(self, id_: str, topic: str, value: bytes, who: str) -> Any:
        row, whole, watchers = super()._deliver(id_, topic, value, who)
        return row, whole, watchers if self._store.files[whole].owner is self else ()


@breaks("watchers_hear")
class HearsEverything(Memory):
    def _deliver(self, id_: str, topic: str, value: bytes, who: str) -> Any:
        row, whole, watchers = super()._deliver(id_, topic, value, who)
        return row, whole, {*watchers, *self._watchers}


@breaks("watchers_hear")
class HearsForEver(Memory):
    def watch(self, function: Any) -> Callable[[], None]:
        super().watch(function)
        return lambda: None


@breaks("stuck_ones_wait_for_letters")
class LeavesTheStuckAlone(Memory):
    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        open_ones = {summary.id for summary in self.list(status={OPEN}).wait()}
        return settled([id_ for id_ in super().orphans(sagas).wait() if id_ in open_ones])


@breaks("stuck_ones_wait_for_letters")
class HearsAll(Memory):
    """Whatever has come before a record, whoever wrote it is taken to have known."""

    def append(self, id: str, bodies: Sequence[bytes], status: str, heard: int | None = None) -> Pending[None]:
        return super().append(id, bodies, status)


@breaks("stuck_ones_wait_for_letters")
class NeverHeard(Memory):
    def orphans(self, sagas: Collection[str]) -> Pending[list[str]]:
        stuck = [summary.id for summary in self.list(status={"stuck"}).wait() if summary.orphan]
        return settled([*super().orphans(sagas).wait(), *(id_ for id_ in stuck if self.letters(id_).wait())])


@pytest.mark.scenario(19, 21)
def test_a_journal_that_keeps_the_rules_passes() -> None:
    check_journal(MemoryJournal, MemoryJournal.process, MemoryJournal.die)
    check_journal(Memory, Memory.process)  # closed rather than killed


class Guarded(UserDict[str, _File]):
    """What the processes share, where nobody looks at it without the lock."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.files: dict[str, _File] = {}

    @property
    def data(self) -> dict[str, _File]:  # type: ignore[override]  # it is never set
        assert self.lock._is_owned()
        return self.files


class Careful(Memory):
    def _begin(self, store: Any) -> None:
        super()._begin(store)
        if not isinstance(store.files, Guarded):
            store.files = Guarded(store.lock)


def test_the_journal_in_memory_is_read_and_written_under_its_lock_alone() -> None:
    check_journal(Careful, Careful.process, Careful.die)


def test_time_may_stand_still() -> None:
    with sandbox():
        check_journal(MemoryJournal, MemoryJournal.process, MemoryJournal.die)


def test_the_table_lists_the_rules() -> None:
    table = re.findall(r"(?m)^ *\| `(\w+)` +\| (.*?) +\|", check_journal.__doc__ or "")
    assert table == [(rule.__name__, (rule.__doc__ or "").rstrip(".")) for rule in RULES]


def test_each_rule_can_be_broken() -> None:
    assert {rule for rule, _ in BROKEN} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(("rule", "broken"), BROKEN, ids=[broken.__name__ for _, broken in BROKEN])
def test_a_broken_journal_is_caught_by_its_rule(rule: str, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SOON", 0.05)
    with pytest.raises(AssertionError, match=f"breaks the rule '{rule}'"):
        check_journal(broken, broken.process, broken.die)
