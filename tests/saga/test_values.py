"""Values come back from JSON as they were, or are refused when they are written."""

import math
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from resilience.saga._signature import UnresolvedError
from resilience.saga._values import codec_for

if TYPE_CHECKING:
    from elsewhere import NotYet

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Name(StrEnum):
    ANN = "ann"


class Might(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item(Generic[T]):
    what: T
    count: int = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    at: datetime
    price: Decimal | None


@attrs.define
class Attrs:
    name: str
    tags: frozenset[str] = frozenset()


class Struct(msgspec.Struct, frozen=True, tag="struct"):
    numbers: tuple[int, ...]


class Other(msgspec.Struct, tag="other"):
    text: str


class Typed(TypedDict, total=False):
    a: int
    b: list[bool]


class Named(NamedTuple):
    x: float
    y: Color


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(alias="Number")
    when: datetime | None = pydantic.Field(default=None, serialization_alias="WHEN")


class Cat(pydantic.BaseModel):
    lives: int


class Dog(pydantic.BaseModel):
    bark: str


@dataclass
class Holder:
    models: list[Model]
    cat: Cat | None = None


@dataclass(eq=False)
class Silent:
    """Says of no other that it is equal."""

    values: list[int]


UserId = NewType("UserId", int)

# Annotations and values, drawn together

Pair = tuple[Any, SearchStrategy[Any]]

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
naive = st.datetimes()
aware = st.datetimes(timezones=st.one_of(st.just(UTC), st.just(BERLIN), offsets), min_value=datetime(1950, 1, 1))  # noqa: DTZ001 - Hypothesis wants it so
keys: list[Pair] = [
    (str, st.text()),
    (int, st.integers(-(2**100), 2**100)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Name, st.sampled_from(Name)),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UserId, st.integers()),
    (Literal["x", "y"], st.sampled_from(["x", "y"])),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
]
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
leaves: list[Pair] = [
    *keys,
    (bool, st.booleans()),
    (None, st.none()),
    (bytes, st.binary()),
    (bytearray, st.binary().map(bytearray)),
    (datetime, naive | aware),
    (time, st.times() | st.times(timezones=offsets)),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False)),
    (Any, plain_json),
    (Annotated[int, "a note"], st.integers()),
    (Frozen, st.builds(Frozen, aware, st.none() | st.decimals(allow_nan=False))),
    (Attrs, st.builds(Attrs, st.text(), st.frozensets(st.text()))),
    (Struct | Other, st.builds(Struct, st.lists(st.integers()).map(tuple)) | st.builds(Other, st.text())),
    (Typed, st.fixed_dictionaries({}, optional={"a": st.integers(), "b": st.lists(st.booleans())})),
    (Named, st.builds(Named, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(Color))),
    (Might, st.sampled_from([*Might, Might(0), Might.READ | Might.WRITE])),
    (int | str | None, st.integers() | st.text() | st.none()),
    (int | float, st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
]
models = st.builds(Model, Number=st.integers(), when=st.none() | naive)
pydantic_leaves: list[Pair] = [
    (Model, models),
    (Cat | Dog | None, st.builds(Cat, lives=st.integers()) | st.builds(Dog, bark=st.text()) | st.none()),
    (Holder, st.builds(Holder, st.lists(models, max_size=2), st.none() | st.builds(Cat, lives=st.integers()))),
    (Item[Model], st.builds(Item, models)),
]


def around(pair: Pair, draw: DrawFn) -> Pair:
    """An annotation with another one in it."""
    inner, values = pair
    key, names = draw(st.sampled_from(keys))
    some = st.lists(values, max_size=3)
    return draw(
        st.sampled_from(
            [
                (list[inner], some),
                (Sequence[inner], some),
                (tuple[inner, ...], some.map(tuple)),
                (tuple[inner, int], st.tuples(values, st.integers())),
                (dict[key, inner], st.dictionaries(names, values, max_size=3)),
                (Item[inner], st.builds(Item, values, st.integers())),
                (
                    dict[str, list[Item[inner]]],
                    st.dictionaries(st.text(), st.lists(st.builds(Item, values)), max_size=2),
                ),
                (Optional[inner], st.none() | values),  # noqa: UP045 - both ways of writing it
                (Annotated[inner, "a note"], values),
            ]
        )
    )


@st.composite
def annotated(draw: DrawFn, among: list[Pair] = leaves) -> tuple[Any, Any]:
    """An annotation, and a value of it."""
    pair = draw(st.sampled_from(among))
    for _ in range(draw(st.integers(0, 3))):
        pair = around(pair, draw)
    return pair[0], draw(pair[1])


def same(given: Any, back: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(given) is not type(back):
        return isinstance(given, datetime) and given == back  # with another tzinfo
    if isinstance(given, datetime | time):  # in the hour that a clock shows twice, == says no
        return given.isoformat() == back.isoformat()
    ours, theirs = list(within(given)), list(within(back))
    return len(ours) == len(theirs) and all(map(same, ours, theirs)) if ours else bool(given == back)


def within(value: Any) -> Iterable[Any]:
    """What a value holds."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Item | Holder):
        return vars(value).values()
    return (value.at, value.price) if isinstance(value, Frozen) else ()


@given(annotated())
def test_a_value_comes_back_equal_and_of_the_same_types(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    codec = codec_for(annotation)
    data = codec.encode(value)
    back = codec.decode(data)
    assert same(value, back)
    assert codec.alike(data, codec.encode(back))
    msgspec.json.decode(data)


@given(annotated(pydantic_leaves))
def test_so_does_one_with_a_pydantic_model_in_it(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    codec = codec_for(annotation)
    data = codec.encode(value)
    assert same(value, codec.decode(data))
    msgspec.json.decode(data)


@given(annotated(leaves + pydantic_leaves), annotated(leaves + pydantic_leaves))
def test_a_value_of_another_type_is_refused_or_comes_back_equal(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    codec, value = codec_for(one[0]), other[1]
    try:
        data = codec.encode(value)
    except (TypeError, ValueError):
        return
    back = codec.decode(data)
    assert back == value or same(value, back)


@given(st.binary() | plain_json.map(msgspec.json.encode), annotated(leaves + pydantic_leaves))
def test_bytes_that_are_no_such_value_are_a_value_error(data: bytes, pair: tuple[Any, Any]) -> None:
    try:
        codec_for(pair[0]).decode(data)
    except ValueError as error:
        assert str(error).startswith("it should be ")


# What is refused when it is written


@dataclass
class Animal:
    name: str


@dataclass
class Puppy(Animal):
    toy: str = "ball"


class Entity:
    """Is equal to whatever has its id, like the entities of many a library."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and vars(self)["id"] == vars(other)["id"]

    def __hash__(self) -> int:
        return 0


@dataclass(eq=False)
class Account(Entity):
    id: int


@dataclass(eq=False)
class Savings(Account):
    rate: float = 0.5


class Secret(pydantic.BaseModel):
    word: pydantic.SecretStr


class Constants(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")
    value: float


class Hidden(pydantic.BaseModel):
    shown: int
    kept: int = pydantic.Field(default=1, exclude=True)
    _private: int = pydantic.PrivateAttr(default=1)


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    side: int

    @pydantic.computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def area(self) -> int:
        return self.side**2


@dataclass(eq=False)
class Empty:
    pass


def hidden(**changed: int) -> Hidden:
    model = Hidden(shown=1)
    for name, value in changed.items():
        setattr(model, name, value)
    return model


cycle: list[Any] = []
cycle.append(cycle)
deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("annotation", "value", "kind", "said"),
    [
        (float, math.nan, ValueError, r"\$ is nan, and JSON has no such number"),
        (float | None, math.inf, ValueError, r"\$ is inf,"),
        (Any, {"a": [-math.inf]}, ValueError, r"\$\['a'\]\[0\] is -inf"),
        (Named, Named(math.nan, Color.RED), ValueError, r"\$\[0\] is nan"),
        (Item[float], Item(math.nan), ValueError, r"\$\.what is nan"),
        (Constants, Constants(value=math.nan), ValueError, r"\$\.value is nan"),
        (Constants, Constants(value=math.inf), ValueError, r"\$\.value is inf"),
        (str, "a\ud800", ValueError, r"\$ has half of a character"),
        (list[Item[str]], [Item("\udc80")], ValueError, r"\$\[0\]\.what has half of a character"),
        (Cat | Dog, Dog(bark="\ud800"), ValueError, r"\$\.bark has half of a character"),
        (Any, cycle, ValueError, "it contains itself, or is nested too deeply"),
        (Any, deep, ValueError, "it contains itself, or is nested too deeply"),
        (int, "7", TypeError, "str where int was announced: Expected `int`, got `str`"),
        (list[Item[int]], [Item("x")], TypeError, r"Expected `int`, got `str` - at `\$\[0\].what`"),
        (int, True, TypeError, "bool where int was announced"),
        (bool, 1, TypeError, "int where bool was announced"),
        (float, True, TypeError, "bool where float was announced"),
        (float, 2**53 + 1, TypeError, r"\$: 9007199254740993 \(int\) would come back as 9007199254740992.0 \(float\)"),
        (float, Decimal("1.5"), TypeError, "Decimal where float was announced"),
        (Any, Decimal("1.5"), TypeError, r"\$: Decimal\('1.5'\) \(Decimal\) would come back as '1.5' \(str\)"),
        (Any, (1, 2), TypeError, r"as Any it would not come back .*: \$: \(1, 2\) \(tuple\) .* as \[1, 2\] \(list\)"),
        (list[list[int]], [[1], (2,)], TypeError, r"\$\[1\]: \(2,\) \(tuple\) would come back as \[2\] \(list\)"),
        (Sequence[int], (1, 2), TypeError, "would come back as"),
        (Any, {1: "a"}, TypeError, r"\$: \{1: 'a'\} would come back as \{'1': 'a'\}"),
        (Any, {"one": Item(1)}, TypeError, r"\$\['one'\]: .*\(Item\) would come back as .*\(dict\)"),
        (Any, object(), TypeError, "object where Any was announced: Encoding objects of type object is unsupported"),
        (Animal, Puppy("rex"), TypeError, r"\$: Puppy\(.*\) would come back as Animal"),
        (list[Animal], [Animal("a"), Puppy("rex")], TypeError, r"\$\[1\]: Puppy"),
        (Account, Savings(1), TypeError, r"\$: .*\(Savings\) would come back as .*\(Account\)"),
        (Typed, {"a": 1, "z": 2}, TypeError, r"would come back as \{'a': 1\}"),
        (Color, "red", TypeError, r"\$: 'red' \(str\) would come back as <Color.RED"),
        (set[int], [1], TypeError, r"\(list\) would come back as \{1\} \(set\)"),
        (Silent, Silent([1.5]), TypeError, "Expected `int`, got `float`"),  # type: ignore[list-item]  # that is the point
        (None, 0, TypeError, "int where None was announced"),
        (Struct | Other, Item(1), TypeError, "."),
        (datetime, datetime(1890, 1, 1, tzinfo=BERLIN), TypeError, r"\$: datetime.* would come back as datetime"),
        (Model, Cat(lives=9), TypeError, "Cat where Model was announced"),
        (Secret, Secret(word=pydantic.SecretStr("x")), TypeError, r"\$\.word: SecretStr"),
        (Hidden, hidden(kept=2), TypeError, r"\$\.kept: 2 would come back as 1"),
        (Hidden, hidden(_private=2), TypeError, r"\$\._private: 2 would come back as 1"),
        (Model, Model.model_construct(number="7"), TypeError, r"\$\.number: '7' \(str\) would come back as 7 \(int\)"),
    ],
)
def test_what_would_not_come_back_as_it_was_is_refused(
    annotation: Any, value: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        codec_for(annotation).encode(value)


# What comes back although == says nothing, or no


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Silent, Silent([1, 2])),
        (list[Silent], [Silent([])]),
        (Decimal, Decimal("NaN")),
        (Decimal, Decimal("sNaN")),
        (list[Decimal], [Decimal("-NaN"), Decimal("1.10")]),
        (datetime, datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
        (Frozen, Frozen(datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), None)),
        (Hidden, hidden()),
        (Computed, Computed(side=2)),
        (Empty, Empty()),
        (Account, Account(1)),
    ],
)
def test_values_that_are_equal_to_none_come_back(annotation: Any, value: Any) -> None:
    codec = codec_for(annotation)
    data = codec.encode(value)
    assert codec.encode(codec.decode(data)) == data
    assert codec.alike(data, codec.encode(value))


@pytest.mark.parametrize(
    ("annotation", "value", "back"),
    [(str, Name.ANN, "ann"), (int, Level.LOW, 1), (float, 2, 2.0), (dict[str, int], OrderedDict(a=1), {"a": 1})],
)
def test_what_refines_a_plain_type_comes_back_as_that(annotation: Any, value: Any, back: Any) -> None:
    found = codec_for(annotation).decode(codec_for(annotation).encode(value))
    assert (found, type(found)) == (back, type(back))


def test_a_decimal_keeps_its_digits() -> None:
    codec = codec_for(Decimal)
    assert str(codec.decode(codec.encode(Decimal("1.10")))) == "1.10"


def test_sets_are_alike_in_any_order() -> None:
    codec = codec_for(set[str])
    assert codec.alike(b'["a","b"]', b'["b","a"]')
    assert not codec.alike(b'["a","b"]', b'["a"]')
    assert not codec.alike(b'["a","b"]', b"7")


# What is refused when the codec is made


@dataclass
class Order:
    items: list[Item["Opaque"]]


class Opaque:
    """Nothing that could be written down."""


@dataclass
class Later:
    field: "NotYet"


class LaterModel(pydantic.BaseModel):
    field: "NotYet"


class Mixed(msgspec.Struct):
    model: Model


@dataclass
class Node:
    kids: "list[Node]" = field(default_factory=list)
    what: Path | None = None


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Opaque, "Opaque: Opaque cannot be made out of JSON; give a dataclass, attrs class"),
        (Order, r"Order\.items\[...\]\.what: Opaque cannot be made out of JSON"),
        (Node, r"Node\.what: Path cannot be made out of JSON; give str"),
        (object, "give Any, for plain JSON"),
        (complex, r"give tuple\[float, float\]"),
        (deque[int], "deque cannot be made out of JSON; give list"),
        (OrderedDict[str, int], "give dict"),
        (Iterable[int], "give list"),
        (Callable[[], int], "Callable cannot be made out of JSON"),
        (Item[int] | Animal, "more than one dataclass .*: give msgspec Structs with tags"),
        (str | Decimal, "more than one str-like type .*or a class with a field for each"),
        (dict[tuple[int, int], str], r"dict\[tuple\[int, int\], str\]: its keys cannot be written as JSON"),
        (dict[bool, str], "its keys cannot be written as JSON"),
        (Enum("Half", {"A": 0.5}), "Enums must contain either all str or all int values"),
        (Mixed, "Unable to generate pydantic-core schema .* Beside pydantic models, give dataclasses"),
    ],
)
def test_types_that_json_cannot_be_are_refused_at_once(annotation: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        codec_for(annotation)


@pytest.mark.parametrize("annotation", [Later, list[Later], LaterModel])
def test_a_field_that_names_nothing_yet_may_be_tried_again(annotation: Any) -> None:
    with pytest.raises(UnresolvedError, match=r"an annotation in .*Later.* cannot be resolved: .*NotYet"):
        codec_for(annotation)


# What is read


@pytest.mark.parametrize(
    ("annotation", "data", "said"),
    [
        (int, b'"7"', "it should be int: Expected `int`, got `str`"),
        (Item[int], b'{"what":1', r"it should be Item\[int\]: Input data was truncated"),
        (Item[int], b"{}", "Object missing required field `what`"),
        (Animal, b'{"name":1}', r"Expected `str`, got `int` - at `\$.name`"),
        (Model, b'{"number":"card 4711"}', "it should be Model: number: Input should be a valid integer"),
        (list[Cat], b"[{}]", r"it should be list\[Cat\]: 0.lives: Field required"),
        (Any, b"[" * 100_000, "it should be Any: "),
    ],
)
def test_what_cannot_be_read_says_what_was_found_and_not_its_value(annotation: Any, data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        codec_for(annotation).decode(data)
    assert "4711" not in str(raised.value)


# Codecs


def test_a_codec_is_made_once() -> None:
    assert codec_for(list[Item[int]]) is codec_for(list[Item[int]])
    assert repr(codec_for(dict[str, Item[int]])) == "<Codec of dict[str, Item[int]]>"
    assert codec_for(Annotated[int, []]).decode(b"1") == 1  # which is not hashable


def test_classes_of_the_same_name_are_not_the_same() -> None:
    one, two = (make_dataclass("Same", [("x", kind)]) for kind in (int, str))
    assert codec_for(one).decode(b'{"x":1}') == one(1)
    assert codec_for(two).decode(b'{"x":"1"}') == two("1")


def test_pydantic_is_not_imported_for_others() -> None:
    code = (
        "import sys; from uuid import UUID; from resilience.saga._values import codec_for;"
        "codec_for(dict[str, list[UUID]]).encode({}); print('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
