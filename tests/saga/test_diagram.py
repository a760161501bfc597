"""A saga drawn: nothing of it is missing, and nothing is drawn over something else."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.saga import Diagram, Saga, message, nested, pause, step
from resilience.saga._layout import Box, Line, Picture, place
from resilience.saga._parts import spoken

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Order:
    number: int


class Deliver(Saga[Order, int], within=60):
    @step
    def load(self, order: Order) -> int: ...

    @load.undo
    def unload(self) -> None: ...

    @step(undo=None)
    def drive(self, load: int) -> int: ...


class Travel(Saga[Order, int], name="travel & <more>", within=timedelta(minutes=5)):
    @step
    def flight(self, order: Order) -> int: ...

    @flight.undo
    def cancel_flight(self) -> None: ...

    @step(after=())
    def hotel(self, order: Order) -> int: ...

    @hotel.undo
    def cancel_hotel(self) -> None: ...

    approval = message(int, within=timedelta(days=3))
    cooling = pause(5400)

    @nested
    def deliver(self, order: Order) -> tuple[Deliver, Order]: ...

    @step(pivot=True)
    def end(self, order: Order) -> int: ...

    @step
    def confirm(self, order: Order) -> int: ...


MERMAID = """\
flowchart TB
    step_flight["flight"]
    step_flight -.- undo_flight(["cancel_flight"])
    step_hotel["hotel"]
    step_hotel -.- undo_hotel(["cancel_hotel"])
    step_approval[/"approval<br><small>message, within 3 days</small>"/]
    step_flight --> step_approval
    step_hotel --> step_approval
    step_cooling(["cooling<br><small>pause, 90 minutes</small>"])
    step_approval --> step_cooling
    subgraph step_deliver ["deliver<br><small>within 1 minute</small>"]
        step_deliver__load["load"]
        step_deliver__load -.- undo_deliver__load(["unload"])
        step_deliver__drive["drive"]
        step_deliver__load --> step_deliver__drive
    end
    step_cooling --> step_deliver
    step_end{{"end<br><small>pivot</small>"}}
    step_deliver --> step_end
    step_confirm["confirm<br><small>until it succeeds</small>"]
    step_end --> step_confirm
    classDef undo stroke-dasharray:4 3
    class undo_flight,undo_hotel,undo_deliver__load undo
    classDef pivot stroke-width:3px
    class step_end pivot
"""


def test_mermaid_says_all() -> None:
    assert str(Travel.diagram()) == Travel.diagram().mermaid == MERMAID


def root_of(diagram: Diagram) -> ET.Element:
    return ET.fromstring(diagram.svg)  # noqa: S314 - it is ours


def texts(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def rectangles(root: ET.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of all that is drawn as a box."""
    found = []
    for one in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


def test_the_picture_says_all() -> None:
    root = root_of(Travel.diagram())
    assert sorted(texts(root)) == sorted(
        [
            "travel & <more>within 5 minutes",
            *("flight", "undo: cancel_flight", "hotel", "undo: cancel_hotel"),
            *("approval", "message, within 3 days", "cooling", "pause, 90 minutes"),
            *("deliverwithin 1 minute", "load", "undo: unload", "drive"),
            *("end", "pivot", "point of no return", "confirm", "until it succeeds"),
        ]
    )
    assert root.findtext(f"{SVG}title") == "travel & <more>"
    assert Travel.diagram()._repr_svg_() == Travel.diagram().svg


def test_nothing_is_drawn_over_something_else_or_beyond_the_edge() -> None:
    root = root_of(Travel.diagram())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = rectangles(root)
    assert len(boxes) == 6 + 1 + 2 + 3
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in boxes[:number]:
            apart = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
            inside = other[0] < left and right < other[2] and other[1] < top and bottom < other[3]
            assert apart or inside


def test_the_picture_takes_its_colours_from_around_it_and_nothing_from_elsewhere() -> None:
    svg = Travel.diagram().svg
    assert "currentColor" in svg
    assert "prefers-color-scheme:dark" in svg
    assert "<script" not in svg
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    style = svg[svg.index("<style>") + 7 : svg.index("</style>")]
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", style)
    assert all(".saga" in rule for rule in rules), "a rule of ours would reach into the page"


def test_one_step_is_a_picture_too() -> None:
    class Small(Saga[Order, int]):
        @step
        def look(self, order: Order) -> int: ...

    assert str(Small.diagram()) == 'flowchart TB\n    step_look["look"]\n'
    assert texts(root_of(Small.diagram())) == ["Small", "look"]


def test_the_picture_is_the_same_in_every_process() -> None:
    program = "from tests.saga.test_diagram import Travel; print(Travel.diagram().svg, end='')"
    svgs = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert svgs == {Travel.diagram().svg}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.25 s"),
        (1, "1 s"),
        (59, "59 s"),
        (60, "1 minute"),
        (90, "90 s"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (86_400, "1 day"),
        (259_200, "3 days"),
    ],
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


# Layout


@st.composite
def graphs(draw: st.DrawFn) -> list[Box]:
    boxes: list[Box] = []
    for number in range(draw(st.integers(1, 9))):
        after = draw(st.lists(st.sampled_from(boxes), unique_by=lambda box: box.name, max_size=3)) if boxes else []
        left, right, height = (draw(st.integers(1, 20)) * 5.0 for _ in range(3))
        boxes.append(Box(f"b{number}", tuple(box.name for box in after), left, right, height))
    return boxes


def drawn(boxes: list[Box]) -> Picture:
    return place(boxes, beside=28, between=40, lane=24)


def area(box: Box, picture: Picture) -> tuple[float, float, float, float]:
    x, y = picture.at[box.name]
    return x - box.left, y, x + box.right, y + box.height


def crosses(line: Line, area: tuple[float, float, float, float]) -> bool:
    """Whether a straight piece of a line goes through a box."""
    left, top, right, bottom = area
    return any(left < x < right and upper < bottom and top < lower for x, upper, lower in line.pieces[1:-1])


@given(graphs())
def test_boxes_are_apart_and_below_those_they_come_after(boxes: list[Box]) -> None:
    picture = drawn(boxes)
    areas = {box.name: area(box, picture) for box in boxes}
    for box in boxes:
        left, top, right, bottom = areas[box.name]
        assert -picture.left <= left
        assert right <= picture.right
        assert top >= 0
        assert bottom <= picture.height
        assert all(areas[other][3] + 40 <= top for other in box.after)
        for other in boxes:
            if other is not box:
                there = areas[other.name]
                assert left >= there[2] or there[0] >= right or top >= there[3] or there[1] >= bottom


@given(graphs())
def test_lines_lead_from_box_to_box_and_through_none(boxes: list[Box]) -> None:
    picture = drawn(boxes)
    named = {box.name: box for box in boxes}
    ends = [(other, box.name) for box in boxes for other in box.after]
    assert len(picture.lines) == len(ends)
    for (upper, lower), line in zip(ends, picture.lines, strict=True):
        start, end = line.pieces[0], line.pieces[-1]
        assert start[:2] == (picture.at[upper][0], picture.at[upper][1] + named[upper].height)
        assert end[:2] == picture.at[lower]
        assert all(one[2] < other[1] for one, other in zip(line.pieces, line.pieces[1:], strict=False))
        assert not any(crosses(line, area(box, picture)) for box in boxes)


def test_a_chain_is_straight() -> None:
    boxes = [Box(f"b{number}", (f"b{number - 1}",) if number else (), 50, 50 + 40 * number, 20) for number in range(4)]
    assert [at for at, _ in drawn(boxes).at.values()] == [0, 0, 0, 0]


def crossings(picture: Picture) -> int:
    """How often two lines change sides between two rows; rows are as high as their boxes here."""
    curves = [
        (one[2], one[0], other[0])
        for line in picture.lines
        for one, other in zip(line.pieces, line.pieces[1:], strict=False)
    ]
    pairs = ((one, other) for number, one in enumerate(curves) for other in curves[:number] if one[0] == other[0])
    return sum((one[1] - other[1]) * (one[2] - other[2]) < 0 for one, other in pairs)


@pytest.mark.parametrize(
    "after",
    [
        {"a": "", "left": "a", "right": "a", "down": "right", "below": "left"},
        {"a": "", "b": "", "c": "", "d": "a c", "e": "b c", "f": "a d"},
    ],
    ids=["branches", "roots"],
)
def test_lines_that_need_not_cross_do_not(after: dict[str, str]) -> None:
    boxes = [Box(name, tuple(others.split()), 50, 50, 20) for name, others in after.items()]
    assert crossings(drawn(boxes)) == 0
