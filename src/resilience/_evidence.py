"""What an error says about the health of the service that raised it.

For every policy that judges health. A refusal of a policy of ours is no evidence, nor is what was cancelled or never
ran (a `Matcher` takes nothing of that kind). The questions are the user's code: they may be slow and may raise, so
nothing of this is asked under a lock.
"""

from typing import cast

from ._core.outcomes import leaves
from ._core.states import Outcome
from ._matching import Matcher
from .errors import Rejected

_LONGEST_TEXT = 200


def judged(error: BaseException, on: Matcher, ignore: Matcher) -> Outcome:
    """What an error says about the service."""
    if not isinstance(error, Exception):
        return Outcome.CANCELLED
    if (ignore.given != () and ignore(error)) or _is_refusal(error, on):
        return Outcome.IGNORED
    return Outcome.FAILURE if on(error) else Outcome.IGNORED


def _is_refusal(error: Exception, on: Matcher) -> bool:
    """Whether it is, or all in it are, refusals of ours that nobody has named as failures."""
    if isinstance(error, ExceptionGroup):
        return all(isinstance(leaf, Rejected) and not on.names(leaf) for leaf in leaves(cast("object", error)))
    return isinstance(error, Rejected) and not on.names(error)


def described(error: BaseException) -> str:
    """The error as one line, to be kept without keeping it: type and the message's first line, bounded."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it is the user's class
        text = "(its text cannot be had)"
    name = type(error).__qualname__
    first = text.strip().partition("\n")[0]
    return f"{name}: {first[:_LONGEST_TEXT]}" if first else name
