"""Writes the text of several shells in one function, and makes its code.

Three things have to be found: a name for each variable (`layout_of`: known from the shells' code, before there is a
text), the globals that the shells read from different modules (`namespace`), and the text itself.
"""

import builtins
import inspect
import keyword
import linecache
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast

from ._form import Draft, Outline, draft, function_in, outline

_PACKAGE = __name__.partition(".")[0]
_MOST = 10_000  # shapes that are remembered; a large program has some hundreds
_WIDTH = 110


class Parameters(NamedTuple):
    """The parameters of a function, by name. Their defaults are the function's, not the text's."""

    positional_only: tuple[str, ...]
    positional: tuple[str, ...]
    rest: str
    keyword_only: tuple[str, ...]
    extra: str

    def declared(self) -> str:
        """As they stand between the parentheses of a `def`."""
        parts = [*self.positional_only, *(["/"] if self.positional_only else []), *self.positional]
        if self.rest or self.keyword_only:
            parts.append(f"*{self.rest}")
        return ", ".join([*parts, *self.keyword_only, *_starred("**", self.extra)])

    def handed_on(self) -> dict[str, str]:
        """What stands for `*args`, `**kwargs`, `args` and `kwargs` where the parameters have names."""
        args = [*self.positional_only, *self.positional, *_starred("*", self.rest)]
        extra = _starred("**", self.extra)
        pairs = [*(f'"{name}": {name}' for name in self.keyword_only), *extra]
        return {
            "*args": ", ".join(args),
            "**kwargs": ", ".join([*(f"{name}={name}" for name in self.keyword_only), *extra]),
            "args": self.rest if args == [f"*{self.rest}"] else f"({', '.join(args)}{',' * (len(args) == 1)})",
            "kwargs": self.extra if pairs == [f"**{self.extra}"] else f"{{{', '.join(pairs)}}}",
        }

    def names(self) -> set[str]:
        """All of them."""
        return {*self.positional_only, *self.positional, self.rest, *self.keyword_only, self.extra}


ANY = Parameters((), (), "args", (), "kwargs")
"""Those of a function that takes what it gets."""


class Shape(NamedTuple):
    """What functions have in common that share one written function.

    Attributes:
        shells: The code of each shell, outermost first.
        parameters: Those of the written function, if no shell asks about the arguments.
        waits: Whether it is a coroutine function.
    """

    shells: tuple[CodeType, ...]
    parameters: Parameters
    waits: bool


class Layout(NamedTuple):
    """How the names of all shells live in one function.

    Attributes:
        names: For each shell, what its names are called.
        free: What the written function closes over, in the order of its code.
        cells: Where it has that from: number of the shell, place in the shell's closure.
        taken: Every name that is in use.
    """

    names: tuple[Mapping[str, str], ...]
    free: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    taken: frozenset[str]


class Written(NamedTuple):
    """A composition, written out.

    Attributes:
        text: What a reader sees.
        code: What runs.
        exact: Whether its parameters are those of the user's function, and not `*args, **kwargs`.
    """

    text: str
    code: CodeType
    exact: bool


def shortened() -> BaseException:
    """The error under way in a first call, without the frame of the written function: there is one for that already."""
    error = cast("BaseException", sys.exception())
    beyond = error.__traceback__ and error.__traceback__.tb_next
    if beyond is None or beyond.tb_frame.f_globals is not namespace:
        return error
    return BaseException.with_traceback(error, beyond.tb_next)  # the user's class may have one of its own


namespace: dict[str, Any] = {"__name__": __name__, "__builtins__": builtins, shortened.__name__: shortened}
"""The globals of every written function: what the shells read from their modules."""

_written: dict[Shape, Written | None] = {}
_names: dict[str, int] = {}
"""How many texts of a name there are; one shape has one text."""


def parameters_of(fn: object) -> Parameters:
    """The parameters of a function. What is none, is one of ours, or has names that cannot be written, takes any."""
    if type(fn) is not FunctionType or fn.__globals__ is namespace:
        return ANY  # the guard inside may ask how its arguments were given
    code = fn.__code__
    only, first = code.co_posonlyargcount, code.co_argcount
    last = first + code.co_kwonlyargcount
    stars = iter(code.co_varnames[last:])
    found = Parameters(
        positional_only=code.co_varnames[:only],
        positional=code.co_varnames[only:first],
        keyword_only=code.co_varnames[first:last],
        rest=next(stars) if code.co_flags & inspect.CO_VARARGS else "",
        extra=next(stars) if code.co_flags & inspect.CO_VARKEYWORDS else "",
    )
    writable = all(name.isidentifier() and not keyword.iskeyword(name) for name in found.names() - {""})
    return found if writable else ANY


@lru_cache(_MOST)
def layout_of(shape: Shape) -> Layout:
    """Find a name for everything: its own if it is alone with it, else with the number of its shell behind it."""
    outlines = [cast("Outline", outline(code)) for code in shape.shells]
    innermost = len(outlines) - 1
    everyones = [name for each in outlines for name in each.own]
    taken = shape.parameters.names() | ANY.names() | {shortened.__name__}
    taken = taken.union(*(each.world for each in outlines))
    names: list[dict[str, str]] = []
    for layer, each in enumerate(outlines):
        plain = {name for name in each.own if everyones.count(name) == 1}
        plain |= {"fn"} if layer == innermost else set()
        plain |= {"result"} if layer == 0 else set()
        chosen: dict[str, str] = {}
        for name in ("fn", "result", *sorted(each.own)):
            chosen[name] = _not_in(taken, name if name in plain else f"{name}_{layer}")
            taken.add(chosen[name])
        names.append(chosen)
    free = sorted(
        (names[layer][name], (layer, index))
        for layer, code in enumerate(shape.shells)
        for index, name in enumerate(code.co_freevars)
        if name != "fn" or layer == innermost or outlines[layer].again
    )
    return Layout(tuple(names), tuple(name for name, _ in free), tuple(cell for _, cell in free), frozenset(taken))


def first_call(layout: Layout, *, waits: bool) -> CodeType:
    """The code that a function has until it is first called: it closes over the same as the one that will be written.

    An error comes out of it with one frame of ours, as it does from then on.
    """
    return _first_call(layout.free, layout.names[0]["entrance"], waits=waits)


@lru_cache(_MOST)
def _first_call(free: tuple[str, ...], entrance: str, *, waits: bool) -> CodeType:
    head, run = ("async def", "await ") if waits else ("def", "")
    function = (
        f"{head} call(*args, **kwargs):\n"
        "    try:\n"
        f"        return {run}{entrance}.begin()(*args, **kwargs)\n"
        "    except BaseException:\n"
        f"        raise {shortened.__name__}()\n"
        f"    {', '.join(free)}\n"  # never comes to be run: to name them is enough
    )
    return _compiled(free, function, _unused("<resilience: a first call>"))[1]


def remembered(shape: Shape) -> Written | None:
    """The written function of a shape, if there is one already."""
    return _written.get(shape)


def write(shape: Shape, worlds: list[dict[str, Any]]) -> Written | None:
    """Write the functions of a shape, if this is the first of them.

    Args:
        shape: What they have in common.
        worlds: The globals that each shell reads.

    Returns:
        `None` where there is no source to write it from.
    """
    if shape not in _written:
        if len(_written) >= _MOST:
            _forget()
        _written[shape] = _write(shape, worlds)
    return _written[shape]


def _write(shape: Shape, worlds: list[dict[str, Any]]) -> Written | None:
    drafts = [found for code in shape.shells if (found := draft(code)) is not None]
    if len(drafts) < len(shape.shells):
        return None
    layout = layout_of(shape)
    writer = _Writer(shape, layout, drafts, worlds)
    label = ", ".join(map(_label, shape.shells[1:])) or "no policy"
    name = f"<resilience: {label} around {'async ' * shape.waits}({writer.parameters.declared()})>"
    try:
        text, code = _compiled(layout.free, writer.text(), _unused(name))
    except SyntaxError:  # more than twenty blocks in one another
        return None
    return Written(text, code, exact=writer.exact) if code.co_freevars == layout.free else None


def _forget() -> None:
    """Begin anew, when there are too many: functions keep their code, and lose its text."""
    for name in [name for name in linecache.cache if name.startswith("<resilience: ")]:
        del linecache.cache[name]
    _written.clear()
    _names.clear()


class _Writer:
    """Writes one text."""

    def __init__(self, shape: Shape, layout: Layout, drafts: list[Draft], worlds: list[dict[str, Any]]) -> None:
        self._shape = shape
        self._layout = layout
        self._drafts = drafts
        self._worlds = [self._world_of(code, world) for code, world in zip(shape.shells, worlds, strict=True)]
        # The outermost may ask: it hands them to the same composition once more, when somebody listens.
        self.exact = not any(each.asks for each in drafts[1:])
        self.parameters = shape.parameters if self.exact else ANY
        self._handed_on = self.parameters.handed_on()

    def text(self) -> str:
        """The whole function."""
        result = self._layout.names[0]["result"]
        head = "async def" if self._shape.waits else "def"
        body = "\n".join([*self._lines(0, result), f"return {result}"])
        return f"{head} call({self.parameters.declared()}):\n{textwrap.indent(body, '    ')}\n"

    def _lines(self, layer: int, result: str) -> Iterator[str]:
        """One shell, with those inside it."""
        here = self._drafts[layer]
        names = {**self._layout.names[layer], **self._worlds[layer], **self._handed_on, "result": result}
        if layer == len(self._drafts) - 1:
            return here.written(names, [self._call(result)] if here.call else [])
        # What has a result before the call keeps it if the call fails: then the inner one needs a name of its own.
        inner = self._layout.names[layer + 1]["result"] if here.prepared else result
        inside = [f"# {_label(self._shape.shells[layer + 1])}", *self._lines(layer + 1, inner)]
        return here.written(names, inside if inner == result else [*inside, f"{result} = {inner}"])

    def _world_of(self, code: CodeType, home: dict[str, Any]) -> dict[str, str]:
        """What the globals that a shell reads are called in the common namespace, as a parameter may have their name.

        No module of ours gives a global another value later, so the value is enough.
        """
        given = self._shape.parameters.names()
        return {
            name: _place(
                name,
                home[name] if name in home else getattr(builtins, name),
                self._layout.taken if name in given else self._layout.taken - {name},
            )
            for name in cast("Outline", outline(code)).world
        }

    def _call(self, result: str) -> str:
        arguments = ", ".join(filter(None, (self._handed_on["*args"], self._handed_on["**kwargs"])))
        return f"{result} = {'await ' * self._shape.waits}{self._layout.names[-1]['fn']}({arguments})"


def _place(name: str, value: object, taken: frozenset[str]) -> str:
    """Put a value into the common namespace; where its name stands for another one already, under another name."""
    while name in taken or namespace.setdefault(name, value) is not value:
        name += "_"
    return name


def _starred(stars: str, name: str) -> list[str]:
    return [stars + name] if name else []


def _not_in(taken: set[str], name: str) -> str:
    while name in taken:
        name += "_"
    return name


def _label(shell: CodeType) -> str:
    """Whose shell it is: the class that binds."""
    return shell.co_qualname.partition(".")[0].lstrip("_")


def _unused(name: str) -> str:
    """A name for a text, that no other text has."""
    number = _names[name] = _names.get(name, 0) + 1
    return name if number == 1 else f"{name[:-1]}, {number}>"


def _compiled(free: tuple[str, ...], function: str, name: str) -> tuple[str, CodeType]:
    """Compile a function that closes over these names, and let debuggers and tracebacks have its text."""
    head = textwrap.fill(f"def bind({', '.join(free)}):", _WIDTH, subsequent_indent=" " * 9, break_long_words=False)
    text = f"{head}\n\n{textwrap.indent(function, '    ')}\n    return call\n"
    code = function_in(function_in(compile(text, name, "exec", dont_inherit=True)))
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    return text, code
