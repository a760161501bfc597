"""Where to put boxes that come after one another: in rows, as long paths want it, with few crossings.

The method is Sugiyama's ("Methods for visual understanding of hierarchical system structures", 1981) in its simplest
form: a box stands in the row below the last of those it comes after; a line that passes a row has a place of its own in
it; the places of a row are put in order by the middle of what they hang on, and then as near to it as there is room.

Nothing is known here of sagas. Lengths are in whatever unit the boxes have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

SWEEPS = 4
"""How often the order of the rows is improved, down and up. More does nothing for graphs that people write."""

GRID = 8
"""Axes are multiples of it: a line that is all but straight had better be straight."""

Place = tuple[str, int]
"""A box, or the line from a box, in a row."""


@dataclass(frozen=True, slots=True)
class Box:
    """What is to be placed.

    Attributes:
        name: Its name.
        after: The boxes that it comes after, which stand before it in the list.
        left: How far it reaches to the left of its axis, where lines come in and go out.
        right: How far it reaches to the right of it.
        height: How high it is.
    """

    name: str
    after: tuple[str, ...]
    left: float
    right: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """The way from a box to one that comes after it: straight pieces, with curves between them.

    Attributes:
        pieces: Each with its x, its upper and its lower y; the first and the last are points.
    """

    pieces: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes that have been placed, about an axis at x = 0 and from y = 0 downwards.

    Attributes:
        at: The axis and the upper edge of each box.
        lines: How they are joined.
        left: How far all of it reaches to the left.
        right: How far to the right.
        height: How high it is.
    """

    at: Mapping[str, tuple[float, float]]
    lines: tuple[Line, ...]
    left: float
    right: float
    height: float


def place(boxes: Sequence[Box], *, beside: float, between: float, lane: float) -> Picture:
    """Place boxes.

    Args:
        boxes: At least one, each below those that it comes after.
        beside: The space between two places in a row.
        between: The space between two rows.
        lane: How wide a line is that passes a row.
    """
    return _Layout(boxes, beside, between, lane).picture()


class _Layout:
    def __init__(self, boxes: Sequence[Box], beside: float, between: float, lane: float) -> None:
        self._boxes = {box.name: box for box in boxes}
        self._beside, self._between, self._lane = beside, between, lane
        self._row: dict[str, int] = {}
        for box in boxes:
            self._row[box.name] = max((self._row[other] + 1 for other in box.after), default=0)
        self._rows: list[list[Place]] = [[] for _ in range(max(self._row.values()) + 1)]
        self._up: dict[Place, list[Place]] = {}
        for box in boxes:
            self._rows[self._row[box.name]].append((box.name, self._row[box.name]))
        for box in boxes:
            for other in box.after:
                self._lead(other, box.name)
        self._down: dict[Place, list[Place]] = {}
        for lower, uppers in self._up.items():
            for upper in uppers:
                self._down.setdefault(upper, []).append(lower)

    def picture(self) -> Picture:
        """Put everything in its place."""
        for _ in range(SWEEPS):
            self._order(self._rows, self._up)
            self._order(self._rows[::-1], self._down)
        x = self._axes()
        tops = self._tops()
        at = {
            name: (x[name, row], tops[row] + (self._height(self._rows[row]) - self._boxes[name].height) / 2)
            for name, row in self._row.items()
        }
        lines = tuple(self._line(other, box.name, x, tops, at) for box in self._boxes.values() for other in box.after)
        left = max(self._left(place) - x[place] for place in x)
        right = max(self._right(place) + x[place] for place in x)
        return Picture(at, lines, left, right, tops[-1] + self._height(self._rows[-1]))

    def _lead(self, upper: str, lower: str) -> None:
        """Lead a line from one box to another, through the rows between them; lines from one box share their places."""
        above = (upper, self._row[upper])
        for row in range(self._row[upper] + 1, self._row[lower]):
            here = (upper, row)
            if here not in self._up:
                self._up[here] = [above]
                self._rows[row].append(here)
            above = here
        self._up.setdefault((lower, self._row[lower]), []).append(above)

    def _order(self, rows: Sequence[list[Place]], tied: Mapping[Place, list[Place]]) -> None:
        """Sort each row by the middle of what its places hang on in the row before."""
        for before, row in pairwise(rows):
            index = {place: number for number, place in enumerate(before)}
            here = {place: number for number, place in enumerate(row)}
            row.sort(key=lambda place: fmean(index[other] for other in tied[place]) if tied.get(place) else here[place])

    def _is_box(self, place: Place) -> bool:
        return self._row[place[0]] == place[1]

    def _left(self, place: Place) -> float:
        return self._boxes[place[0]].left if self._is_box(place) else self._lane / 2

    def _right(self, place: Place) -> float:
        return self._boxes[place[0]].right if self._is_box(place) else self._lane / 2

    def _height(self, row: Sequence[Place]) -> float:
        return max(self._boxes[name].height for name, at in row if self._row[name] == at)

    def _axes(self) -> dict[Place, float]:
        """The axis of each place: near the middle of what it is joined with, so that lines are straight."""
        x = dict.fromkeys((place for row in self._rows for place in row), 0.0)
        for _ in range(SWEEPS):
            for row in (*self._rows, *self._rows[::-1]):
                x |= self._across(row, x)
        middle = fmean(x[place] for place in self._rows[0])
        return {place: GRID * round((axis - middle) / GRID) for place, axis in x.items()}

    def _across(self, row: Sequence[Place], x: Mapping[Place, float]) -> dict[Place, float]:
        """The axes of one row: as near as can be to where they would like to be, and far enough from one another."""
        offsets = [0.0]
        for one, other in pairwise(row):
            offsets.append(offsets[-1] + self._right(one) + self._beside + self._left(other))
        joined = ([*self._up.get(place, ()), *self._down.get(place, ())] for place in row)
        wishes = [fmean(x[other] for other in others) if others else 0.0 for others in joined]
        fitted = _ascending([wish - offset for wish, offset in zip(wishes, offsets, strict=True)])
        return {place: offset + shift for place, offset, shift in zip(row, offsets, fitted, strict=True)}

    def _tops(self) -> list[float]:
        tops = [0.0]
        for row in self._rows:
            tops.append(tops[-1] + self._height(row) + self._between)
        return tops[:-1]

    def _line(
        self,
        upper: str,
        lower: str,
        x: Mapping[Place, float],
        y: Sequence[float],
        at: Mapping[str, tuple[float, float]],
    ) -> Line:
        start, end = at[upper][1] + self._boxes[upper].height, at[lower][1]
        passed = [
            (x[upper, row], y[row], y[row] + self._height(self._rows[row]))
            for row in range(self._row[upper] + 1, self._row[lower])
        ]
        return Line(((at[upper][0], start, start), *passed, (at[lower][0], end, end)))


def _ascending(numbers: Sequence[float]) -> list[float]:
    """The numbers nearest to these that never fall: neighbours that do are given their mean (isotonic regression)."""
    pools: list[list[float]] = []
    for number in numbers:
        pools.append([number])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    return [fmean(pool) for pool in pools for _ in pool]
