"""Whether a journal keeps the rules that sagas rely on: the suite that the journals of this library pass, for others.

The rules themselves are functions in `_rules` and `_letter_rules`, each named like its row in the table below.
"""

from collections.abc import Callable
from typing import TypeVar

from ._bench import Bench
from ._journal import Journal
from ._rules import RULES

J = TypeVar("J", bound=Journal)


def check_journal(
    make: Callable[[], J], another: Callable[[J], J], kill: Callable[[J], object] | None = None
) -> None:
    """Try every rule of `Journal` on journals of your own.

    Args:
        make: Makes a new, empty journal.
        another: Opens the store of a journal once more, as another process would; also after it was closed.
        kill: Ends a journal as if its process had been killed. Without it, it is closed where it should be killed.

    Raises:
        AssertionError: A rule is broken. The text names the rule and says what was found.
    """
    for rule in RULES:
        bench = Bench(make, another, kill)
        try:
            rule(bench)
        except Exception as error:
            raise AssertionError(f"a journal breaks the rule {rule.__name__!r} ({_sentence(rule)}): {error}") from error
        finally:
            bench.close()


def _sentence(rule: Callable[..., object]) -> str:
    return (rule.__doc__ or "").strip().partition("\n")[0].rstrip(".")
