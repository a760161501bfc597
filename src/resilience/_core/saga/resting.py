"""How long an effect that failed rests before it is tried again."""

from zlib import crc32

_INITIAL = 0.2
_MOST = 30.0
_MOST_DOUBLINGS = 16


def again_in(failures: int, salt: str) -> float:
    """Seconds until the next attempt: doubling from 0.2 s to 30 s, and the upper half of it left to chance.

    Equal jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015): unlike full jitter it never tries
    again at once, and an undo is in no hurry. The chance is drawn from the saga's and the effect's name, so a replay
    decides alike, and the sagas of an outage spread out.

    Args:
        failures: How often it has failed in a row, from 1.
        salt: The names.
    """
    roll = crc32(f"{salt}/{failures}".encode()) / 2**32
    return min(_MOST, _INITIAL * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)) * (0.5 + 0.5 * roll)
