"""A journal in a file when the disk is full, the file damaged, or the power gone: the real thing each time."""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from resilience.errors import JournalUnavailable
from resilience.saga._pending import Pending
from resilience.saga._sqlite import SQLiteJournal
from tests.saga.processes import running

APPEND = """
    import sys
    from resilience.saga._sqlite import SQLiteJournal
    journal = SQLiteJournal(sys.argv[1])
    found = journal.start("a", "Trip", b"0").wait()
    for number in range(len(found.rows), len(found.rows) + int(sys.argv[2])):
        journal.append("a", [b"%d" % number], "open").wait()
        print(number)
    sys.stdin.read()
"""
FULL_WAL = """
    import resource, sys
    from pathlib import Path
    from resilience.saga._sqlite import SQLiteJournal
    from resilience.errors import JournalUnavailable
    journal = SQLiteJournal(sys.argv[1])
    journal.start("a", "Trip", b"start").wait()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1] + "-wal").stat().st_size, most))
    for body in (b"1", b"2"):
        try:
            journal.append("a", [body], "open").wait()
        except JournalUnavailable as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    print(journal.append("a", [b"3"], "open").wait())
    print([row.body.decode() for row in journal.read("a").wait()], journal.check().wait())
    journal.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def journal(path: Path) -> Generator[SQLiteJournal]:
    with closing(SQLiteJournal(path)) as journal:
        yield journal


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Somebody else has a transaction open: whatever is asked of the journal meanwhile lands in one batch."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


def bodies(journal: SQLiteJournal, id_: str) -> list[bytes]:
    return [row.body for row in journal.read(id_).wait() or []]


def outcome(pending: Pending[Any]) -> object:
    try:
        return pending.wait()
    except JournalUnavailable as error:
        return error


# Room, and those who hold the door.


@pytest.mark.scenario(22)
def test_a_full_database_fails_what_does_not_fit_and_goes_on_when_there_is_room(journal: SQLiteJournal) -> None:
    for id_ in ("a", "b"):
        journal.start(id_, "Trip", b"start").wait()
    pages = journal._writer._connection
    (used,) = pages.execute("PRAGMA page_count").fetchone()
    pages.execute(f"PRAGMA max_page_count = {used + 2}")
    large = journal.append("a", [b"x", b"x" * 100_000], "stuck")
    assert "disk is full" in str(outcome(large))
    assert journal.append("b", [b"small"], "open").wait() is None
    assert bodies(journal, "a") == [b"start"], "all of it or nothing"
    assert {found.status for found in journal.list().wait()} == {"open"}
    pages.execute("PRAGMA max_page_count = 1000000")
    assert journal.append("a", [b"x", b"x" * 100_000], "stuck").wait() is None
    assert len(bodies(journal, "a")) == 3
    assert journal.check().wait() == []


@pytest.mark.scenario(22)
def test_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    umount = shutil.which("umount")
    if not mount or not umount:
        pytest.skip("there is no mount command here")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        with closing(SQLiteJournal(folder / "sagas.db")) as journal:
            journal.start("a", "Trip", b"start").wait()
            written, found = 0, None
            while not isinstance(found := outcome(journal.append("a", [b"x" * 50_000], "open")), JournalUnavailable):
                written += 1
                assert written < 100
            assert "disk is full" in str(found)
            assert len(bodies(journal, "a")) == 1 + written
            assert isinstance(outcome(journal.append("a", [b"x" * 50_000], "open")), JournalUnavailable)
            subprocess.run([mount, "-o", "remount,size=8m", folder], check=True)
            assert journal.append("a", [b"more"], "open").wait() is None
            assert len(bodies(journal, "a")) == 2 + written
            assert journal.check().wait() == []
    finally:
        subprocess.run([umount, "-l", folder], check=True)


@pytest.mark.scenario(22)
def test_a_disk_that_does_not_write(path: Path) -> None:
    """The kernel refuses to let the log grow, as a broken disk would."""
    with running(FULL_WAL, path) as other:
        first, second, third, last = (other.says() for _ in range(4))
    assert "nothing was written" in first
    assert "nothing was written" in second
    assert third == "None"
    assert last == "['start', '3'] []"


@pytest.mark.scenario(22)
def test_a_lock_that_nobody_lets_go_of(path: Path) -> None:
    with closing(SQLiteJournal(path, patience=0.01)) as journal:
        journal.start("a", "Trip", b"start").wait()
        with locked(path):
            late = [journal.append("a", [b"late"], "open"), journal.start("b", "Trip", b"late")]
            errors = [outcome(pending) for pending in late]
            assert all(isinstance(error, JournalUnavailable) and "patience=" in str(error) for error in errors)
            assert errors[0] is not errors[1], "each is raised with a traceback of its own"
            assert bodies(journal, "a") == [b"start"], "reading needs no lock"
        assert journal.append("a", [b"more"], "open").wait() is None
        assert bodies(journal, "a") == [b"start", b"more"]
        assert journal.read("b").wait() is None


@pytest.mark.scenario(22)
def test_a_file_that_somebody_has_for_himself_cannot_be_opened(path: Path) -> None:
    SQLiteJournal(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="another process holds its lock"):
            SQLiteJournal(path, patience=0.01)
        other.execute("COMMIT")
    SQLiteJournal(path).close()


def test_a_short_lock_is_waited_for(path: Path, journal: SQLiteJournal) -> None:
    journal.start("a", "Trip", b"start").wait()
    with locked(path):
        pending = journal.append("a", [b"more"], "open")
        assert not pending.done
    assert pending.wait() is None


@pytest.mark.scenario(23)
def test_a_saga_that_cannot_be_written_fails_alone(path: Path, journal: SQLiteJournal) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON entries WHEN new.body = CAST('poison' AS BLOB) "
            "BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
    for number in range(5):
        journal.start(f"saga-{number}", "Trip", b"start").wait()
    with locked(path):
        batch = [journal.append(f"saga-{number}", [b"good"], "open") for number in range(4)]
        poison = journal.append("saga-4", [b"before", b"poison"], "completed")
        behind = journal.append("saga-4", [b"behind"], "open")
        fresh = journal.start("saga-5", "Trip", b"start")
        bad = journal.start("saga-6", "Trip", b"poison")
    assert [pending.wait() for pending in batch] == [None] * 4
    assert fresh.wait().owned
    errors = [outcome(pending) for pending in (poison, behind, bad)]
    assert all(isinstance(error, JournalUnavailable) for error in errors)
    assert len(set(map(id, errors))) == 3, (
        "two that wait must not share an error: each is raised with its own traceback"
    )
    assert [error.id for error in errors if isinstance(error, JournalUnavailable)] == ["saga-4", "saga-4", "saga-6"]
    assert bodies(journal, "saga-4") == [b"start"], "what came behind it in the batch would have left a gap"
    assert journal.read("saga-6").wait() is None
    assert journal.append("saga-4", [b"behind"], "open").wait() is None
    assert journal.append("saga-5", [b"more"], "open").wait() is None
    assert {found.status for found in journal.list().wait()} == {"open"}


def test_the_first_batch_of_all_may_fail(path: Path, journal: SQLiteJournal) -> None:
    """It would have made the journal an owner."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TRIGGER refuse BEFORE INSERT ON sagas BEGIN SELECT RAISE(ABORT, 'no'); END")
    assert isinstance(outcome(journal.start("a", "Trip", b"start")), JournalUnavailable)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER refuse")
    assert journal.start("a", "Trip", b"start").wait().owned
    assert journal.append("a", [b"more"], "open").wait() is None


# Power.


@pytest.mark.scenario(24)
def test_every_commit_is_synced_before_it_is_acknowledged(journal: SQLiteJournal) -> None:
    connection = journal._writer._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: fsync of the log at every commit
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.scenario(24)
def test_what_is_acknowledged_is_in_the_files(path: Path, tmp_path: Path, journal: SQLiteJournal) -> None:
    """Each time the files as they are, without the shared memory, hold all that was acknowledged."""
    for number in range(5):
        work = journal.start("a", "Trip", b"0") if number == 0 else journal.append("a", [b"%d" % number], "open")
        work.wait()
        with closing(SQLiteJournal(copied(path, tmp_path / f"copy-{number}"))) as copy:
            assert bodies(copy, "a") == [b"%d" % before for before in range(number + 1)]


def test_a_new_journal_has_its_name_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    SQLiteJournal(path).close()
    assert path.parent.stat().st_ino in synced


@pytest.mark.scenario(3, 5, 21)
def test_a_killed_process_has_written_all_that_was_acknowledged(path: Path) -> None:
    acknowledged = -1
    for most in (1, 7, 40, 120):
        with running(APPEND, path, 1_000) as other:
            for _ in range(most):
                acknowledged = int(other.says())
            other.kill()
        with closing(SQLiteJournal(path)) as journal:
            found = bodies(journal, "a")
            assert found == [b"%d" % number for number in range(len(found))]
            assert len(found) > acknowledged
            assert journal.check().wait() == []


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The files of a process that was killed, and how long the log was when each record had been acknowledged."""
    path = tmp_path_factory.mktemp("torn") / "sagas.db"
    log, lengths = Path(f"{path}-wal"), []
    script = APPEND.replace("print(number)", "print(number); sys.stdin.readline()")
    with running(script, path, 30) as other:
        for _ in range(30):
            other.says()
            lengths.append(log.stat().st_size)
            other.tell()
        other.kill()
    return path, lengths


def copied(path: Path, folder: Path) -> Path:
    """The database and its log, as a disk would have them after the power went: no shared memory."""
    folder.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", folder)
    return folder / path.name


@pytest.mark.scenario(25)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("harm", ["cut", "flip", "zero"])
def test_a_torn_log_loses_nothing_that_stands_before_the_damage(
    torn: tuple[Path, list[int]], tmp_path: Path, seed: int, harm: str
) -> None:
    path, lengths = torn
    place = random.Random(seed).randrange(lengths[0], lengths[-1])
    copy = copied(path, tmp_path / "copy")
    log = Path(f"{copy}-wal")
    whole = log.read_bytes()
    rest = {"cut": b"", "flip": bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], "zero": bytes(len(whole) - place)}
    log.write_bytes(whole[:place] + rest[harm])
    with closing(SQLiteJournal(copy)) as journal:
        found = bodies(journal, "a")
        assert found == [b"%d" % number for number in range(len(found))]
        assert len(found) >= 1 + sum(length <= place for length in lengths)
        assert journal.check().wait() == []
        opened = journal.open("a").wait()
        assert opened is not None
        assert opened.owned
        assert journal.append("a", [b"on"], "open").wait() is None


# Damage.


def filled(path: Path) -> None:
    with closing(SQLiteJournal(path)) as journal:
        for number in range(200):
            journal.start(f"saga-{number}", "Trip", b"x" * 200)


def refused(path: Path, says: str, **options: Any) -> None:
    """It is not opened, and left as it is."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}
    with pytest.raises(JournalUnavailable, match=says):
        SQLiteJournal(path, **options)
    after = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".db-shm"}
    assert {name: after.get(name) for name in before} == before
    assert set(after) - set(before) <= {"sagas.db-owners"}


@pytest.mark.scenario(25)
def test_a_damaged_page_is_found_when_it_is_opened(path: Path) -> None:
    filled(path)
    whole = path.read_bytes()
    for page in range(4096, len(whole), 4096):
        path.write_bytes(whole[:page] + b"\xff" * 4096 + whole[page + 4096 :])
        refused(path, r"damaged.*keep it")


@pytest.mark.scenario(25)
def test_a_damaged_page_is_met_if_nobody_looked(path: Path) -> None:
    filled(path)
    damaged = b"\xff" * (path.stat().st_size - 8192)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(damaged)
    with ExitStack() as stack:
        try:
            journal = stack.enter_context(closing(SQLiteJournal(path, check=False)))
        except JournalUnavailable as error:
            assert "damaged" in str(error)
        else:
            assert "damaged" in str(outcome(journal.start("new", "Trip", b"start")))


@pytest.mark.scenario(25)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (
            lambda path: path.write_text("no database, but long enough to be taken for one\n" * 100),
            "no SQLite database",
        ),
        (lambda path: path.write_bytes(b"\0" * 100 + path.read_bytes()[100:]), "no SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8192]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
    ],
    ids=["empty", "text", "header", "cut", "cut short"],
)
def test_what_is_damaged_is_never_replaced(path: Path, damage: Callable[[Path], object], says: str) -> None:
    filled(path)
    damage(path)
    refused(path, says)


@pytest.mark.scenario(25)
def test_a_log_without_its_database(torn: tuple[Path, list[int]], tmp_path: Path) -> None:
    path = copied(torn[0], tmp_path / "copy")
    path.unlink()
    refused(path, "is gone, but its write-ahead log")
    assert not path.exists()
