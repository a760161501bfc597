"""Who is alive: the kernel knows, and nobody else can say."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilience.saga._owners import DOOR, Owners, owners_of
from tests.saga.processes import forked, running

HOLD = """
    import sys
    from resilience.saga._owners import owners_of
    owners = owners_of(sys.argv[1])
    print(owners.take(int(sys.argv[2])))
    sys.stdin.read()
"""
HOLD_AND_FORK = """
    import os, sys
    from resilience.saga._owners import owners_of
    path, number = sys.argv[1], int(sys.argv[2])
    owners = owners_of(path)
    print(owners.take(number))
    child = os.fork()
    if child:
        print(child)
        os.waitpid(child, 0)
    for line in sys.stdin:
        print(owners_of(path).alive(number))
"""
ASK = """
    import sys
    from resilience.saga._owners import owners_of
    owners = owners_of(sys.argv[1])
    print(owners.alive(int(sys.argv[2])))
"""
GLANCE = """
    import fcntl, sys
    file = open(sys.argv[1], "r+")
    fcntl.lockf(file, fcntl.LOCK_SH, 1, int(sys.argv[2]))
    print("looking")
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sagas.db-owners")


@contextmanager
def opened(path: str) -> Generator[Owners]:
    owners = owners_of(path)
    try:
        yield owners
    finally:
        owners.leave()


def seen_elsewhere(path: str, number: int) -> bool:
    with running(ASK, path, number) as other:
        return other.says() == "True"


def test_an_owner_lives_until_it_gives_up(path: str) -> None:
    with opened(path) as owners:
        assert not owners.alive(1)
        assert owners.take(1)
        assert owners.alive(1)
        assert not owners.take(1), "one number, one owner"
        assert not owners.alive(2)
        owners.give(1)
        assert not owners.alive(1)


def test_two_journals_of_one_process_know_of_each_other(path: str) -> None:
    with opened(path) as first, opened(path) as second:
        assert first.take(1)
        assert second.alive(1)
        assert not second.take(1)
        assert second.take(2)
        assert first.alive(2)


@pytest.mark.scenario(20, 21)
def test_another_process_is_alive_until_the_kernel_says_otherwise(path: str) -> None:
    with opened(path) as owners, running(HOLD, path, 7) as other:
        assert other.says() == "True"
        assert owners.alive(7)
        assert not owners.take(7)
        other.send(signal.SIGSTOP)
        assert owners.alive(7), "it is stopped, not dead"
        other.kill()
        assert not owners.alive(7)


def test_the_first_to_leave_does_not_take_the_locks_along(path: str) -> None:
    with opened(path) as stays:
        assert stays.take(1)
        with opened(path) as goes:
            assert goes.take(2)
            goes.give(2)
        assert seen_elsewhere(path, 1)
        assert not seen_elsewhere(path, 2)


def test_whoever_asks_is_not_taken_for_the_owner(path: str) -> None:
    with opened(path) as owners, running(GLANCE, path, 3) as other:
        assert other.says() == "looking"
        assert not owners.alive(3)


def test_asking_for_our_own_owner_does_not_let_go_of_it(path: str) -> None:
    with opened(path) as owners:
        assert owners.take(1)
        assert owners.alive(1)
        assert seen_elsewhere(path, 1)


def test_a_forked_child_is_nobody_and_disturbs_nobody(path: str) -> None:
    def child() -> str:
        with opened(path) as owners:
            return f"{owners.alive(1)} {owners.take(2)}"

    with opened(path) as owners:
        assert owners.take(1)
        assert forked(child) == "True True"
        assert owners.alive(1)
        assert seen_elsewhere(path, 1)
        assert not owners.alive(2), "the child has ended"


def test_a_forked_child_sees_its_parent_die(path: str) -> None:
    with running(HOLD_AND_FORK, path, 5) as parent:
        assert parent.says() == "True"
        child = int(parent.says())
        try:
            parent.tell()
            assert parent.says() == "True"
            parent.die()
            parent.tell()
            assert parent.says() == "False"
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_that_was_put_in_its_place_is_another_one(path: str) -> None:
    with opened(path) as before:
        assert before.take(1)
        Path(path).unlink()
        with opened(path) as after:
            assert after is not before
            assert not after.alive(1)
        assert before.alive(1)


def test_the_file_is_closed_with_the_last_user(path: str) -> None:
    with opened(path) as owners:
        assert owners.take(1)
    assert not seen_elsewhere(path, 1)
    with opened(path) as again:
        assert again.take(1)


def test_the_door_is_nobodys_number(path: str) -> None:
    with opened(path) as first, opened(path) as second:
        assert first.take(DOOR)
        assert not second.take(DOOR)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        owners_of(str(tmp_path / "none" / "x-owners"))
