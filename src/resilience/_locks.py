"""A lock on the way that every call takes, left free by whatever interrupts that.

`with` is safe and takes twice as long as `acquire` and `release`. Between those two a signal handler may raise at any
call, also as soon as `acquire` has taken the lock; a lock that stays taken would stop every other thread for good. So:

    try:
        lock.acquire()
        ...
    except BaseException:
        let_go(lock)
        raise
    lock.release()
"""

import threading
from contextlib import suppress


def let_go(lock: threading.RLock) -> None:
    """Release a lock if its own thread has it: an interrupt came once it was taken, or while it was waited for."""
    with suppress(RuntimeError):
        lock.release()
