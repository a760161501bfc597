"""Tell every story that a saga can live through, and look whether each ends well.

For a saga of a few steps these are some hundreds, and all of them are told, on a virtual clock and a journal in
memory. Which there are depends on what the saga does: each trouble is told once without a power cut, which counts the
points at which there may be one.

`_stories` knows what a story is, `_telling` tells one, and `_settled` looks at its end. How things look in the user's
own world, `audit` says.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, islice
from typing import Any, TypeVar

from .. import _checks
from ..saga import Saga
from ..saga._compile import blueprint_of
from ._mail import mail_for
from ._stories import FAULTS, Stories, Story
from ._telling import Teller, Telling

S = TypeVar("S", bound="Saga[Any, Any]")

__all__ = ["Stories", "check_saga"]


def check_saga(
    make: Callable[[], S],
    input: Any,  # noqa: A002 - it is the saga's input
    *,
    messages: Mapping[str, Any] | None = None,
    audit: Callable[[S], object] | None = None,
    backend: str = "asyncio",
    cuts: int = 1,
    most: int = 2_000,
) -> Stories:
    """Tell every story that a saga can live through, and look whether each ends well.

    Each message comes once, while it is waited for; or early; or again and again; and, where it has a limit, too late
    or never. Each call of a step is refused, dropped on the way or loses its answer, each undo that this leads to
    likewise. And the caller cancels, at every point. There is one story for each of these, and in each the power goes
    once at every point: before and after every call and every commit, and in the middle of every wait. Another process
    goes on, on a virtual clock.

    It checks that no step begins after the decision to go back, none runs again whose result is durable, what had an
    effect is undone if the saga is, in reverse order, a cancel turns the saga or is refused, and that the first cause
    reaches the caller. Whether the world is in order as well, only `audit` can tell: it needs fakes that count what
    they are asked for, and that take a call with a key they know for the same call.

    ```python
    def in_order(saga: PlaceOrder) -> None:
        assert saga.stock.reserved == saga.payments.charged


    def make() -> PlaceOrder:
        return PlaceOrder(FakeStock(), FakePayments())


    print(check_saga(make, Order("42"), messages={"approval": Approval("ann")}, audit=in_order))
    ```

    Args:
        make: Makes the saga, with a fresh world around it.
        input: Its input.
        messages: What is sent to the steps that wait for a message, by their names; "deliver.approval" for one in a
            nested saga. A message that is not given never comes, which only a step with a limit can bear.
        audit: Called with the saga when a story is over; raises `AssertionError` if the world is not in order.
        backend: The event loop for a saga with coroutine functions: "asyncio" or "trio".
        cuts: How often the power goes in one story. Default 1; with 2 there are very many.
        most: How many stories are told at most, in the order above. Default 2,000.

    Returns:
        How many stories were told, and how they ended.

    Raises:
        AssertionError: One of them did not end well; a note says which.
        RuntimeError: An event loop runs here already: call it from a plain test.
        TypeError: A message does not fit the type that its step waits for.
        ValueError: A message is for no such step, or none is given for a step that would wait for ever.
    """
    owner = type(make())
    blueprint = blueprint_of(owner)
    mail = mail_for(owner.__name__, blueprint, messages)
    teller = Teller(make, input, audit, backend if blueprint.coroutine_functions else None, mail)
    return counted(every_story(teller, _checks.whole("cuts", cuts)), most)


def every_story(teller: Teller[Any], cuts: int) -> Iterator[Telling]:
    """Tell them all: first that nothing goes wrong, then the messages, the calls that break, and the cancels."""
    quiet = yield from with_cuts(teller, Story(), cuts)
    for name in teller.mail.values:
        for coming in teller.mail.ways_to_come(name):
            yield from with_cuts(teller, Story(mail=((name, coming),)), cuts)
    for key in dict.fromkeys(quiet.calls):
        for fault in FAULTS:
            broken = yield from with_cuts(teller, Story(((key, fault),)), cuts)
            for undo in dict.fromkeys(call for call in broken.calls if call.startswith("undo:")):
                yield from with_cuts(teller, Story(((key, fault), (undo, "dropped"))), cuts)
                yield from with_cuts(teller, Story(((key, fault), (undo, "lost"))), cuts)
    for point in range(1, quiet.points + 1):
        yield from with_cuts(teller, Story(cancel=point), cuts)


def with_cuts(teller: Teller[Any], story: Story, cuts: int) -> Generator[Telling, None, Telling]:
    """Tell of this trouble, and of it with each power cut; before a cancel, a cut changes nothing that it does not."""
    telling = teller.tell(story)
    yield telling
    points = range(story.cancel or 1, telling.points + 1)
    for several in range(1, cuts + 1):
        for some in combinations(points, several):
            yield teller.tell(replace(story, cuts=some))
    return telling


def counted(tellings: Iterable[Telling], most: int) -> Stories:
    """Have so many stories told, at most, and count how they end."""
    ends = Counter(telling.outcome for telling in islice(tellings, most))
    return Stories(sum(ends.values()), dict(ends))
