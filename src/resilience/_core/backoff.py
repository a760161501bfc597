"""How long to wait before the next attempt: pure arithmetic, the roll of the dice given."""

_MOST_DOUBLINGS = 64
"""Beyond this the ceiling has long been reached; without a bound, attempt 10**6 would overflow a float."""


def full_jitter(attempt: int, roll: float, initial: float, most: float) -> float:
    """A wait, evenly spread between nothing and a ceiling that doubles with every attempt.

    Full jitter spreads a crowd of retries best: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).

    Args:
        attempt: The number of the attempt that failed, from 1.
        roll: A number from [0, 1).
        initial: The ceiling after the first attempt, in seconds.
        most: The highest ceiling, in seconds.

    Returns:
        Seconds: `roll * min(most, initial * 2 ** (attempt - 1))`.
    """
    return roll * min(most, initial * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
