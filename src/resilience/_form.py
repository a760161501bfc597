"""The fusible form: how a shell must be written for its text to be put where the shell outside says `fn(...)`.

```python
def call(*args, **kwargs):
    ...  # what is done before
    result = fn(*args, **kwargs)  # once, in no loop; inside `try` or `with` as one likes
    ...  # what is done after
    return result  # once, at the end
```

No function in it, no `nonlocal`, no `yield`. A shell that calls something else, as `result`, is in the form too; what
is inside it cannot be written, so it comes last. A shell is looked at twice: when a function is decorated, at its code
only (`outline`); when that function is first called, at its source (`draft`). What does not keep to the form is left
alone.
"""

import ast
import dis
import inspect
import linecache
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple, cast

_MOST = 10_000  # shells that are remembered; a program has some tens

_REFUSED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.Yield, ast.YieldFrom, ast.Nonlocal, ast.Global, ast.Import, ast.ImportFrom, ast.Match,
    ast.AnnAssign, ast.JoinedStr,  # names in an f-string have no place in the text before 3.12
)  # fmt: skip
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
# They see the names of the function that they are in, and those are not the same in another one.
_LOOK_AROUND = {"super", "__class__", "locals", "vars", "dir", "eval", "exec", "globals"}

Place = tuple[int, int, int, str]
"""Line, first and last byte of a name in the text of a shell, and the name."""


class Outline(NamedTuple):
    """What the code of a shell tells.

    Attributes:
        own: Its locals and what it closes over, without those that each shell has: `fn`, `args`, `kwargs`, `result`.
        world: The globals and builtins that it reads.
        again: Whether it needs `fn` beside the one call.
        last: Whether there is no such call, so that nothing can be written inside it.
    """

    own: frozenset[str]
    world: frozenset[str]
    again: bool
    last: bool


class Draft(NamedTuple):
    """What the source of a shell tells.

    Attributes:
        lines: Its body, without the `return`, from column 0.
        places: Where names stand in it.
        call: The first line of the one call, the line behind it, and the call's indentation; `None` if it is the last.
        asks: Whether it looks at the arguments, beyond handing them on together with `fn`.
        prepared: Whether it gives `result` a value before the call, to have one if the call fails.
    """

    lines: tuple[bytes, ...]
    places: tuple[Place, ...]
    call: tuple[int, int, bytes] | None
    asks: bool
    prepared: bool

    def written(self, names: Mapping[str, str], inside: Sequence[str]) -> Iterator[str]:
        """Its lines, with other names, and with other lines in place of the call."""
        lines = list(self.lines)
        for line, start, end, name in sorted(self.places, reverse=True):
            if name in names:
                lines[line] = _replaced(lines[line], start, end, names[name])
        first, behind, indent = self.call or (len(lines), len(lines), b"")
        yield from (line.decode() for line in lines[:first])
        yield from (f"{indent.decode()}{line}" if line else line for line in inside)
        yield from (line.decode() for line in lines[behind:])


@lru_cache(_MOST)
def outline(code: CodeType) -> Outline | None:
    """What a shell's code tells, or `None` if it is not in the form."""
    stars = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    if (
        code.co_flags & stars != stars
        or code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
        or code.co_argcount + code.co_kwonlyargcount
        or code.co_varnames[:2] != ("args", "kwargs")
        or code.co_cellvars
        or any(isinstance(constant, CodeType) for constant in code.co_consts)
    ):
        return None
    used = [(found.opname, found.argval) for found in dis.get_instructions(code) if found.opname != "PUSH_NULL"]
    if any(what in {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"} for what, _ in used):
        return None
    calls = sum(_begins_the_call(used[index : index + 3]) for index in range(len(used)))
    if calls > 1 or "result" not in code.co_varnames:
        return None
    return Outline(
        own=frozenset((*code.co_varnames, *code.co_freevars)) - {"fn", "args", "kwargs", "result"},
        world=frozenset(name for what, name in used if what == "LOAD_GLOBAL"),
        again=used.count(("LOAD_DEREF", "fn")) > calls,
        last=not calls,
    )


@lru_cache(_MOST)
def draft(code: CodeType) -> Draft | None:
    """What a shell's source tells, or `None` if there is none, it is not that of the code, or not in the form."""
    try:
        source = _source_of(code)
        function = ast.parse(source).body[0]
    except (SyntaxError, tokenize.TokenError, ValueError, IndexError):
        return None
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or not _is_source_of(source, code):
        return None
    reader = _Reader()
    for statement in function.body:
        reader.visit(statement)
    ending = function.body[-1]
    if reader.strange or reader.returns != [ending] or not _says_result(ending):
        return None
    head = max(getattr(node, "end_lineno", 0) or 0 for node in (function.returns, function.args.kwarg) if node)
    try:
        return _drafted(source.encode().splitlines(), head, ending.lineno - 1, reader)
    except ValueError:  # `as error` on a line of its own, say
        return None


def _begins_the_call(used: list[tuple[str, object]]) -> bool:
    """Whether these three instructions are the first of `fn(*args, **kwargs)`."""
    names = [name for _, name in used]
    return names == ["fn", "args", 0] and used[0][0] == "LOAD_DEREF" and used[-1][0] == "BUILD_MAP"


class _Reader(ast.NodeVisitor):
    """Reads the body of a shell once, and notes what matters."""

    def __init__(self) -> None:
        self.call: ast.Assign | None = None
        self.returns: list[ast.stmt] = []
        self.places: list[Place | ast.ExceptHandler] = []
        self.asks = False
        self.prepared = False
        self.strange = False
        self._loops = 0
        self._handed_on = False  # inside a call that is given `fn`, too

    def visit(self, node: ast.AST) -> None:
        self.strange |= isinstance(node, _REFUSED)
        self._loops += isinstance(node, _LOOPS)
        super().visit(node)
        self._loops -= isinstance(node, _LOOPS)

    def visit_Return(self, node: ast.Return) -> None:
        self.returns.append(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not _calls_fn(node):
            self.generic_visit(node)
            return
        self.strange |= self.call is not None or self._loops > 0
        self.call = node

    def visit_Call(self, node: ast.Call) -> None:
        self.strange |= _named(node.func, "fn")  # the one call has been passed over
        outside = self._handed_on
        self._handed_on = any(_named(operand, "fn") for operand in node.args)
        self.generic_visit(node)
        self._handed_on = outside

    def visit_Starred(self, node: ast.Starred) -> None:
        self._star(node, node.value)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is None:
            self._star(node, node.value)
        else:
            self.visit(node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.places.append(node)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.strange |= node.lineno != node.end_lineno  # the lines of a text cannot be moved

    def visit_Name(self, node: ast.Name) -> None:
        stored = not isinstance(node.ctx, ast.Load)
        self.strange |= node.id in _LOOK_AROUND or (stored and node.id in {"args", "kwargs"})
        self.prepared |= stored and node.id == "result" and self.call is None
        self._note(node, node.id)

    def _star(self, node: ast.Starred | ast.keyword, value: ast.expr) -> None:
        if isinstance(value, ast.Name) and value.id in {"args", "kwargs"}:
            self._note(node, "*" * (2 if isinstance(node, ast.keyword) else 1) + value.id)
        else:
            self.visit(value)

    def _note(self, node: Any, name: str) -> None:
        self.asks |= name.lstrip("*") in {"args", "kwargs"} and not self._handed_on
        self.strange |= node.lineno != node.end_lineno
        self.places.append((node.lineno - 1, node.col_offset, node.end_col_offset, name))


def _drafted(lines: list[bytes], head: int, end: int, reader: _Reader) -> Draft | None:
    """The body of a shell, moved to column 0."""
    places = [
        _place_of_name(lines, place) if isinstance(place, ast.ExceptHandler) else place for place in reader.places
    ]
    call = reader.call
    if call is not None and not _alone(lines, call):
        return None
    indent = len(lines[end]) - len(lines[end].lstrip())
    if any(line[:indent].strip() for line in lines[head:end]):
        return None  # what stands further left cannot be moved with the others
    return Draft(
        lines=tuple(_without_orders(line[indent:]) for line in lines[head:end]),
        places=tuple((line - head, start - indent, stop - indent, name) for line, start, stop, name in places),
        call=None
        if call is None
        else (call.lineno - 1 - head, _behind(call) - head, b" " * (call.col_offset - indent)),
        asks=reader.asks,
        prepared=reader.prepared,
    )


def _alone(lines: list[bytes], call: ast.Assign) -> bool:
    """Whether nothing else stands on its lines."""
    before, after = lines[call.lineno - 1][: call.col_offset], lines[_behind(call) - 1][call.end_col_offset :]
    return not before.strip() and not after.split(b"#")[0].strip()


def _behind(call: ast.Assign) -> int:
    """The line behind it, counted from 0."""
    return call.end_lineno or call.lineno


def _source_of(code: CodeType) -> str:
    """The text at its place; `inspect.getsource` would ask every module that is loaded whether it is the one."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    return textwrap.dedent("".join(inspect.getblock(lines))) if lines else ""


def _is_source_of(source: str, code: CodeType) -> bool:
    """Whether it is this text that the code was made from: a file may have been changed since."""
    binding = f"def bind({', '.join(code.co_freevars)}):\n{textwrap.indent(source, '    ')}"
    try:
        module = compile(binding, "<shell>", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return _substance(function_in(function_in(module))) == _substance(code)


def function_in(code: CodeType) -> CodeType:
    """The first function that a code makes."""
    return next(constant for constant in code.co_consts if isinstance(constant, CodeType))


def _substance(code: CodeType) -> list[tuple[str, object]]:
    """What its instructions do, but for distances; apart from its module, a text is compiled to slightly other ones."""
    aside = {"PUSH_NULL", "PRECALL", "NOP"}
    jumps = {*dis.hasjrel, *dis.hasjabs}
    return [
        (each.opname.replace("LOAD_METHOD", "LOAD_ATTR"), None if each.opcode in jumps else repr(each.argval))
        for each in dis.get_instructions(code)
        if each.opname not in aside
    ]


def _calls_fn(node: ast.Assign) -> bool:
    """Whether it is `result = fn(*args, **kwargs)`, awaited or not."""
    value = node.value.value if isinstance(node.value, ast.Await) else node.value
    return (
        isinstance(value, ast.Call)
        and [ast.unparse(target) for target in node.targets] == ["result"]
        and ast.unparse(value) == "fn(*args, **kwargs)"
    )


def _says_result(ending: ast.stmt) -> bool:
    return isinstance(ending, ast.Return) and ending.value is not None and _named(ending.value, "result")


def _named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _place_of_name(lines: list[bytes], handler: ast.ExceptHandler) -> Place:
    """Where `error` stands in `except ... as error`, which the syntax tree does not tell.

    Raises:
        ValueError: Not behind the type.
    """
    kind, name = cast("ast.expr", handler.type), cast("str", handler.name)
    line = cast("int", kind.end_lineno) - 1
    start = lines[line].index(name.encode(), lines[line].index(b" as ", kind.end_col_offset) + 4)
    return line, start, start + len(name.encode()), name


def _replaced(line: bytes, start: int, end: int, text: str) -> bytes:
    """A line with other words in one place; with none, also without the comma before."""
    before = line[:start] if text else re.sub(rb",\s*$", b"", line[:start])
    return before + text.encode() + line[end:]


def _without_orders(line: bytes) -> bytes:
    """A line without what its comment says to a checker, but with the reason that it gives."""
    return re.sub(
        rb"  #\s*$", b"", re.sub(rb"# (?:noqa(?:: [A-Z0-9, ]*[A-Z0-9])?(?: - )?|type: ignore\S*(?:  # )?)", b"# ", line)
    )
