"""What one sees while it runs: a square for each order, and the kills; elsewhere than on a terminal, a line a second.

A view is made from the board as it stands, again and again; it changes nothing and keeps nothing.
"""

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from .board import Board, State

FRAMES = 10
"""Pictures per second on a terminal."""

WIDEST, FRAME = 88, 6
"""Columns of the panel at most, and what of them is its frame."""

LOOKS = {
    State.WAITING: ("·", "#6e7781"),
    State.UNDER_WAY: ("▣", "#56b4e9"),
    State.COMPLETED: ("■", "#009e73"),
    State.UNDONE: ("□", "#e69f00"),
    State.STUCK: ("✗", "#d55e00"),
}
"""A sign and a colour for each state; either alone tells them apart (colours after Okabe and Ito)."""

RESUMED = "underline"
"""The look of an order that a later process has taken up."""

NEWS = 6
"""How many kills are told."""


def watch(board: Board, running: Callable[[], bool], console: Console) -> None:
    """Show what happens until it is over."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while running():
                live.update(frame(board, console.width), refresh=True)
                time.sleep(1 / FRAMES)
        console.print(frame(board, console.width))
    else:
        _lines(board, running, console)


def _lines(board: Board, running: Callable[[], bool], console: Console) -> None:
    second = told = 0
    while running():
        for kill in board.kills[told:]:
            told += 1
            console.print(_news(board, told, kill.at, len(kill.under_way)).plain, highlight=False)
        if time.time() - board.began >= second:
            console.print(line(board, second), highlight=False)
            second += 1
        time.sleep(0.05)


def line(board: Board, second: int) -> str:
    """The state of things in one line."""
    counts = board.counts
    return "  ".join(
        (f"{second:5} s", *(f"{state} {counts[state]:3}" for state in State), f"killed {len(board.kills)}")
    )


def frame(board: Board, width: int) -> RenderableType:
    """The panel at one moment."""
    states, width = list(board.states.items()), min(width, WIDEST)
    row = max(10, (width - FRAME) // 2 // 10 * 10)  # a square takes two columns, and tens are easy to count
    squares = Text("\n").join(_squares(board, states[first : first + row]) for first in range(0, len(states), row))
    body = Group(squares, "", _legend(board), "", _kills(board))
    return Panel(body, title=f"{len(states)} orders, {board.ended} ended", width=width, padding=(1, 2))


def _squares(board: Board, states: list[tuple[str, State]]) -> Text:
    return Text(" ").join(_square(state, order in board.resumed) for order, state in states)


def _square(state: State, resumed: bool) -> Text:
    sign, colour = LOOKS[state]
    return Text(sign, f"{colour} {RESUMED}" if resumed else colour)


def _legend(board: Board) -> Text:
    counts = board.counts
    cells = [
        Text.assemble(LOOKS[state], f" {state} {counts[state]}") for state in State if counts[state] or state.ended
    ]
    return Text("   ").join([*cells, Text.assemble(("_", RESUMED), f" lived through a kill {len(board.resumed)}")])


def _kills(board: Board) -> Text:
    news = [_news(board, number, kill.at, len(kill.under_way)) for number, kill in enumerate(board.kills, 1)][-NEWS:]
    return Text("\n").join([*news, *[Text("")] * (NEWS - len(news))])


def _news(board: Board, number: int, at: float, under_way: int) -> Text:
    return Text.assemble(
        (f"{at - board.began:5.1f} s  ", "dim"),
        ("SIGKILL", "bold red"),
        f" number {number} met {under_way} orders under way",
    )
