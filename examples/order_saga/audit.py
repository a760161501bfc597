"""Holds the three databases and the journal against one another: is any order half-done?

Pure: the books in, findings out.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .books import UNDO, Books

ENDS = ("completed", "undone")
"""How a saga may end here: all done, or all undone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one promise was kept.

    Attributes:
        name: One word for it.
        promise: What was promised.
        figures: What was counted.
        offenders: What broke it; empty when it was kept.
    """

    name: str
    promise: str
    figures: str
    offenders: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not self.offenders


def audit(books: Books) -> list[Finding]:
    """Every promise, kept or broken."""
    return [check(books) for check in CHECKS.values()]


def ended(books: Books) -> Finding:
    """Every order has come to its end, and to one only."""
    ends = {order: [entry for entry in entries if entry.kind == "end"] for order, entries in books.journal.items()}
    counts = Counter(books.statuses.values())
    return Finding(
        "ended",
        "every order is placed or undone, nothing is left open",
        f"{len(books.script.orders)} orders, {counts['completed']} completed, {counts['undone']} undone",
        (
            *(
                f"{order.id} is {books.statuses.get(order.id, 'unknown')}"
                for order in books.script.orders
                if books.statuses.get(order.id) not in ENDS
            ),
            *(f"{order} ended {len(found)} times" for order, found in ends.items() if len(found) > 1),
        ),
    )


def half_done(books: Books) -> Finding:
    """No order is reserved and not charged, or charged and not confirmed."""
    nothing = [order for order, verbs in books.verbs.items() if not _left(verbs)]
    return Finding(
        "half_done",
        "an order is reserved, charged and created, or none of it",
        f"{len(books.placed)} all of it, {len(nothing)} none of it",
        tuple(
            f"{order}: {' and '.join(_left(verbs))} only"
            for order, verbs in books.verbs.items()
            if 0 < len(_left(verbs)) < len(UNDO)
        ),
    )


def twice(books: Books) -> Finding:
    """Nothing was done twice or undone twice, and nothing undone that was not done."""
    repeated = sum(call.verdict == "repeated" for call in books.arrivals)
    return Finding(
        "twice",
        "nothing is done twice, undone twice, or undone without being done",
        f"{len(books.moves)} effects, {repeated} repeated calls had none",
        tuple(_excess(books)),
    )


def late(books: Books) -> Finding:
    """No step has an effect after its undo."""
    undone = {(move.order, move.verb): move.at for move in books.moves if move.verb in UNDO.values()}
    void = Counter(call.verdict for call in books.arrivals)
    return Finding(
        "late",
        "no step takes effect after its undo",
        f"{void['too late']} calls came too late, {void['nothing to undo']} undos found nothing to undo",
        tuple(
            f"{move.order}: {move.verb} after {UNDO[move.verb]}"
            for move in books.moves
            if move.verb in UNDO and move.at > undone.get((move.order, UNDO[move.verb]), move.at)
        ),
    )


def stock(books: Books) -> Finding:
    """What is missing from the stock is what the placed orders have taken."""
    taken = Counter(dict.fromkeys(books.script.stock, 0))
    for order in books.script.orders:
        taken[order.item] += order.count if books.statuses.get(order.id) == "completed" else 0
    return Finding(
        "stock",
        "what has left the stock is what the placed orders hold",
        f"{sum(books.script.stock.values())} at first - {taken.total()} = {sum(books.stock.values())} now",
        tuple(_unbalanced(books.script.stock, taken, books.stock)),
    )


def money(books: Books) -> Finding:
    """What the customers have spent is the price of their placed orders."""
    spent = Counter(dict.fromkeys(books.script.accounts, 0))
    for order in books.script.orders:
        spent[order.customer] += order.cents if books.statuses.get(order.id) == "completed" else 0
    first, now = (sum(accounts.values()) / 100 for accounts in (books.script.accounts, books.accounts))
    return Finding(
        "money",
        "what the customers have spent is the price of their placed orders",
        f"{first:,.2f} at first - {spent.total() / 100:,.2f} = {now:,.2f} now",
        tuple(_unbalanced(books.script.accounts, spent, books.accounts)),
    )


def journal(books: Books) -> Finding:
    """The journal says the same as the three databases, and each thing once."""
    completed = {order for order, status in books.statuses.items() if status == "completed"}
    created = set(books.orders)
    return Finding(
        "journal",
        "the journal and the three databases tell the same of every order",
        f"{len(completed)} completed, {len(books.placed)} done by the services, {len(created)} in the order book",
        (
            *(f"{order} is not everywhere" for order in sorted((completed ^ books.placed) | (completed ^ created))),
            *(f"{order}: {step} has {times} results" for (order, step), times in _results(books).items() if times > 1),
        ),
    )


def kills(books: Books) -> Finding:
    """The orchestrator really died with work in hand: else all this would prove nothing."""
    idle = tuple(f"kill {number} met no order" for number, kill in enumerate(books.kills, 1) if not kill.under_way)
    survivors = {order for kill in books.kills for order in kill.under_way}
    return Finding(
        "kills",
        "each kill met orders under way, and these have ended as well",
        f"{len(books.kills)} kills met {len(survivors)} orders",
        (*idle, *(f"{order} did not live through it" for order in survivors if books.statuses.get(order) not in ENDS)),
    )


CHECKS: dict[str, Callable[[Books], Finding]] = {
    check.__name__: check for check in (ended, half_done, twice, late, stock, money, journal, kills)
}
"""Every promise by its name."""


def _left(verbs: Counter[str]) -> list[str]:
    """What was done for an order and not taken back."""
    return [do for do, undo in UNDO.items() if verbs[do] > verbs[undo]]


def _excess(books: Books) -> Iterator[str]:
    for order, verbs in books.verbs.items():
        yield from (f"{order}: {verb} {times} times" for verb, times in verbs.items() if times > 1)
        yield from (f"{order}: {undo} without {do}" for do, undo in UNDO.items() if verbs[undo] > verbs[do])


def _results(books: Books) -> Counter[tuple[str, str]]:
    """How often the journal has the result of each step."""
    return Counter(
        (order, entry.step) for order, found in books.journal.items() for entry in found if entry.kind == "result"
    )


def _unbalanced(first: dict[str, int], gone: Counter[str], now: dict[str, int]) -> Iterator[str]:
    for name, amount in first.items():
        if amount - gone[name] != now[name]:
            yield f"{name}: {amount} - {gone[name]} is not {now[name]}"
