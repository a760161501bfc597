"""Whether a journal keeps the rules that sagas rely on: the suite that the journals of this library pass, for others.

The rules themselves are functions in `_rules` and `_letter_rules`, each named like its row in the table below.
"""

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from ._bench import Bench
from ._journal import Journal
from ._letter_rules import LETTER_RULES
from ._rules import RECORD_RULES

J = TypeVar("J", bound=Journal)

RULES = (*RECORD_RULES, *LETTER_RULES)
"""All there are."""


def check_journal(make: Callable[[], J], another: Callable[[J], J], kill: Callable[[J], object] | None = None) -> None:
    """Try every rule of `Journal` on journals of your own. It needs no test runner, and some threads.

    | Rule                          | What must hold                                                                |
    |-------------------------------|-------------------------------------------------------------------------------|
    | `answers_are_owed`            | Every method answers with a `Pending`                                         |
    | `a_new_saga`                  | `start` begins a saga that is owned by who began it, and open                 |
    | `a_known_saga`                | `start` and `open` of a saga that is owned here find it, and write nothing    |
    | `an_unknown_saga`             | `open` and `read` of an unknown saga find nothing, and make nothing           |
    | `records_are_bytes`           | Records come back in order, byte for byte, each with its time                |
    | `ids_are_exact`               | Ids that differ at all are different; what is no id is refused                |
    | `appends_are_atomic`          | If one record of an append is too large, none is written                      |
    | `order_is_kept`               | Appends that are not waited for are written in the order of the calls         |
    | `one_fails_alone`             | An append that is refused takes no other with it                              |
    | `one_owner`                   | While the owner of a saga is alive, nobody else gets it or writes to it       |
    | `released_ones_are_free`      | A released saga is an orphan at once; who opens it then owns it               |
    | `the_dead_own_nothing`        | What the dead wrote is there, what they owned is free; they write no more     |
    | `closing_keeps_all`           | Closing finishes what was asked for; opened anew, a journal finds all         |
    | `one_of_many_begins`          | Of many that begin the same saga at once, one does                            |
    | `one_of_many_takes_over`      | Of many that open an orphan at once, one owns it                              |
    | `the_end_is_the_end`          | A saga that has ended belongs to nobody, and nobody writes to it              |
    | `lists`                       | `list` gives the sagas, oldest first: of some statuses, of a class, so many   |
    | `finds`                       | `find` gives the saga of exactly this id, and says of it what `list` does     |
    | `orphans`                     | `orphans` gives the open sagas of some classes that nobody alive owns         |
    | `ends_are_told`               | An end is untold until it is confirmed; the oldest comes first                |
    | `purges`                      | `purge` forgets what ended before a time, in some ways, and nothing else      |
    | `nothing_is_wrong`            | `check` finds nothing wrong with a journal that is whole                      |
    | `letters_are_kept`            | A letter is kept for its saga, whoever sends it; letters are numbered upwards |
    | `letters_survive`             | An acknowledged letter survives its sender and the owner of the saga          |
    | `one_letter_for_a_topic`      | A topic takes one letter: the same again is the same, another is refused      |
    | `requests_in_any_number`      | The topic of requests takes any number of letters, also the same again        |
    | `no_letters_after_the_end`    | A saga that has ended takes no letters, and an unknown one neither            |
    | `nested_addresses`            | A message to a nested saga is kept with the saga that it is a part of         |
    | `watchers_hear`               | The watchers of a saga's owner hear of letters to it, and nobody else does    |
    | `stuck_ones_wait_for_letters` | A stuck orphan waits to be taken up once it has a letter that was not heard   |

    Args:
        make: Makes a new, empty journal.
        another: Opens the store of a journal once more, as another process would; also after it was closed.
        kill: Ends a journal as if its process had been killed. Without it, it is closed where it should be killed.

    Raises:
        AssertionError: A rule is broken. The text names the rule and says what was found.

    Example:
        ```python
        check_journal(MemoryJournal, MemoryJournal.process, MemoryJournal.die)
        ```
    """
    for rule in RULES:
        try:
            with closing(Bench(make, another, kill)) as bench:
                rule(bench)
        except Exception as error:
            found = str(error) if isinstance(error, AssertionError) else repr(error)
            raise AssertionError(f"a journal breaks the rule {rule.__name__!r}: {rule.__doc__} But {found}") from error
