"""News is told in the order in which it arose, whenever another thread posts some."""

from collections import deque
from typing import Any

from resilience._events import Event, StateChanged, listen
from resilience._outbox import Outbox


def test_news_that_comes_as_the_telling_ends_is_not_overtaken() -> None:
    class Interrupted(deque[Any]):
        """Somebody else posts right after somebody has looked and found nothing."""

        def __len__(self) -> int:
            found = super().__len__()
            if not found and late:
                outbox.post(late.pop())
            return found

    def news(after: str) -> Event:
        return StateChanged("payments", "closed", after, "because", None)

    def hear(event: Any) -> None:
        if event.after == "second":  # and while that is told, a third comes, and its thread wants to tell it
            outbox.post(news("third"))
            outbox.tell()
        heard.append(event.after)

    heard: list[str] = []
    late = [news("second")]
    outbox: Outbox[Event] = Outbox()
    outbox.post(news("first"))
    outbox._waiting = Interrupted(outbox._waiting)  # the moment is its own
    with listen(hear):
        outbox.tell()
        outbox.tell()
    assert heard == ["first", "second", "third"]
