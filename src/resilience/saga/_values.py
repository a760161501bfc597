"""Values as JSON and back, by what an annotation says they are: what a journal keeps of inputs, results and messages.

    codec = codec_for(dict[str, list[Item]])
    codec.decode(codec.encode(value)) == value

**A value comes back as it was, or is refused when it is written.** Not when it is read, which may be days later, after
a crash: so `encode` reads each value back at once and compares. JSON turns a tuple into a list, a NaN into null and a
`Dog`, where an `Animal` was announced, into an `Animal`; whoever writes the step hears of it in the first test.

"As it was" means equal (`==`), and of the very class where the value is an object of yours. What merely refines a plain
type comes back as that: a `StrEnum` where a str was announced as a str, an int where a float was as a float.

msgspec does the work; an annotation that mentions a pydantic model is left to pydantic.
"""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from ._by_msgspec import by_msgspec
from ._by_pydantic import by_pydantic, is_for_pydantic
from ._sameness import difference, equal, lost
from ._signature import UnresolvedError
from ._wording import reason, shown


class Codec:
    """How values of one type are written and read; made by `codec_for`.

    Attributes:
        annotation: The type.
    """

    __slots__ = ("_read", "_write", "annotation")

    def __init__(self, annotation: Any, write: Callable[[Any], bytes], read: Callable[[bytes], Any]) -> None:
        self.annotation: Any = annotation
        self._write = write
        self._read = read

    def __repr__(self) -> str:
        return f"<Codec of {shown(self.annotation)}>"

    def encode(self, value: Any) -> bytes:
        """A value as JSON.

        Raises:
            TypeError: It is not of the type, or would not come back as it is.
            ValueError: There is no JSON for it: a NaN, text that is none, a value that contains itself.
        """
        try:
            data = self._write(value)
            back = self._read(data)
        except RecursionError:
            raise ValueError("it contains itself, or is nested too deeply for JSON") from None
        except Exception as error:  # noqa: BLE001 - whatever a value's own code may raise
            self._refuse(value, error)
        if type(back) is not type(value) or not equal(back, value):
            self._compare(value, back)
        return data

    def decode(self, data: bytes) -> Any:
        """A value again.

        Raises:
            ValueError: It is not of the type.
        """
        try:
            return self._read(data)
        except Exception as error:
            raise ValueError(f"it should be {shown(self.annotation)}: {reason(error)}") from error

    def alike(self, one: bytes, other: bytes) -> bool:
        """Whether two texts stand for the same value: a set is written in any order.

        A text that cannot be read is like no other.
        """
        try:
            return one == other or difference(self.decode(one), self.decode(other)) is None
        except ValueError:
            return False

    def _compare(self, value: object, back: object) -> None:
        if (place := next(lost(value), None)) is not None:
            raise ValueError(place)
        found = difference(value, back)
        if found is not None:
            raise TypeError(f"as {shown(self.annotation)} it would not come back from a journal as it is: {found}")

    def _refuse(self, value: object, error: Exception) -> NoReturn:
        if (place := next(lost(value), None)) is not None:
            raise ValueError(place) from error
        wanted = shown(self.annotation)
        raise TypeError(f"{type(value).__qualname__} where {wanted} was announced: {reason(error)}") from error


def codec_for(annotation: Any) -> Codec:
    """The codec of a type. It is made once for each.

    Args:
        annotation: The type, as an annotation says it, with nothing left to resolve.

    Raises:
        TypeError: Values of this type cannot be written as JSON and read again.
        UnresolvedError: A field of a class in it has an annotation that cannot be resolved (yet).
    """
    try:
        hash(annotation)
    except TypeError:  # an Annotated with a list in it, say
        return _made(annotation)
    return _remembered(annotation)


def _made(annotation: Any) -> Codec:
    try:
        make = by_pydantic if is_for_pydantic(annotation) else by_msgspec
        return Codec(annotation, *make(annotation))
    except NameError as error:
        raise UnresolvedError(
            f"an annotation in {shown(annotation)} cannot be resolved: {error}. A saga's types are needed at run time: "
            "define or import them in the module, outside of functions and of 'if TYPE_CHECKING:'"
        ) from error


_remembered = functools.lru_cache(maxsize=1024)(_made)
