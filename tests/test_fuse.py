"""What a written function looks like, from outside and inside; that it behaves is in `test_fuse_same`."""

import copy
import gc
import importlib
import inspect
import linecache
import os
import pdb  # noqa: T100 - to step through it
import pickle
import shutil
import subprocess
import sys
import threading
import traceback
import typing
import weakref
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import FunctionType
from typing import Any

import anyio
import pytest
import wrapt

from resilience import Bulkhead, Cache, CircuitBreaker, Pipeline, _script, fallback, retry, timeout
from resilience._compose import Entrance
from resilience._form import draft, outline

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment of the test run switches it off."""
    monkeypatch.delenv("RESILIENCE_FUSE", raising=False)


def three(**options: Any) -> Pipeline:
    """A pipeline that can be written in one."""
    return Pipeline(retry(on=ConnectionError), CircuitBreaker(), Bulkhead(20), **options)


def called(guarded: Any, *args: Any, **kwargs: Any) -> Any:
    """A function that has been called, so that it is written."""
    guarded(*args, **kwargs)
    return guarded


def is_written(guarded: Any) -> bool:
    """Whether it is: its code is no file's."""
    return bool(
        guarded.__code__.co_filename.startswith("<resilience: ") and "first call" not in guarded.__code__.co_filename
    )


def by_name(order: int, amount: int = 1) -> tuple[int, int]:
    """Has a name in a module."""
    return order, amount


# From outside


def test_it_has_the_parameters_of_the_function() -> None:
    default = object()

    def function(
        a: int, b: object = default, /, c: int = 3, *rest: int, d: int, e: object = default, **extra: int
    ) -> Any:
        return a, b, c, rest, d, e, extra

    guarded = three()(function)
    first = guarded(1, d=4)
    assert first == (1, default, 3, (), 4, default, {}) == guarded(1, d=4)
    code = guarded.__code__  # type: ignore[attr-defined]
    assert is_written(guarded)
    assert code.co_varnames[:7] == ("a", "b", "c", "d", "e", "rest", "extra")
    assert (code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount) == (2, 3, 2)
    assert guarded.__defaults__ is function.__defaults__
    assert inspect.signature(guarded) == inspect.signature(function)


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((1, 2, 3), {"c": 1}), ((1,), {"b": 2}), ((1,), {"a": 1, "c": 1}), ((1,), {"c": 1, "d": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs"), WRONG, ids=str)
def test_arguments_that_do_not_fit_are_told_as_by_the_function(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def function(a: int, /, b: int = 1, *, c: int) -> None: ...

    bare: Any = function
    with pytest.raises(TypeError) as expected:
        bare(*args, **kwargs)
    breaker = CircuitBreaker(on=Exception)
    guarded: Any = Pipeline(breaker)(function)
    for _ in range(3):
        with pytest.raises(TypeError) as found:
            guarded(*args, **kwargs)
        assert str(found.value) == str(expected.value)
    assert breaker.stats.failures == 0  # it has seen no call


def test_it_keeps_what_a_function_is_known_by(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = called(three()(by_name), 1)
    monkeypatch.setattr(sys.modules[__name__], "by_name", guarded)
    assert is_written(guarded)
    assert (guarded.__name__, guarded.__qualname__, guarded.__module__) == ("by_name", "by_name", __name__)
    assert guarded.__doc__ == "Has a name in a module."
    assert guarded.__wrapped__.__code__.co_name == "by_name"
    assert pickle.loads(pickle.dumps(guarded)) is guarded
    assert typing.get_type_hints(guarded) == {"order": int, "amount": int, "return": tuple[int, int]}


def test_methods_of_all_kinds() -> None:
    class Shop:
        @three()
        def plain(self, order: int) -> tuple[Any, int]:
            return self, order

        @classmethod
        @three()
        def of_class(cls, order: int) -> tuple[Any, int]:
            return cls, order

        @three()
        @staticmethod
        def alone(order: int) -> int:
            return order

        @three()
        async def awaited(self, __order: int) -> tuple[Any, int]:  # noqa: PYI063 - mangled
            return self, __order

    shop = Shop()
    for _ in range(2):
        assert shop.plain(1) == (shop, 1)
        assert shop.of_class(order=2) == (Shop, 2)
        assert shop.alone(3) == 3
        assert anyio.run(shop.awaited, 4) == (shop, 4)
    assert all(is_written(vars(Shop)[name]) for name in ("plain", "awaited"))


def test_parameters_may_have_any_name() -> None:
    def function(fn: int, result: int, call: int, entrance: int, circuit: int, type: int, *, clock: int) -> Any:  # noqa: A002
        return locals()

    names = ("fn", "result", "call", "entrance", "circuit", "type")
    guarded = three()(function)
    for _ in range(2):
        assert guarded(*range(6), clock=6) == {**dict(zip(names, range(6), strict=True)), "clock": 6}
    assert is_written(guarded)


@pytest.mark.parametrize("make", [lambda: divmod, lambda: shutil.copy.__call__], ids=["builtin", "bound"])
def test_what_is_no_function_takes_what_it_gets(make: Callable[[], Any]) -> None:
    guarded = three()(make())
    with pytest.raises(TypeError):
        guarded()
    assert is_written(guarded)
    assert guarded.__code__.co_varnames[:2] == ("args", "kwargs")


def test_who_asks_about_arguments_gets_them_as_they_were_given() -> None:
    asked: list[Any] = []
    instead = fallback(to=lambda *args, **kwargs: asked.append((args, kwargs)), on=ValueError)

    @Pipeline(instead, retry(on=OSError))
    def guarded(order: int, amount: int = 3) -> None:
        raise ValueError

    guarded(1)
    guarded(order=1)
    assert is_written(guarded)
    assert asked == [((1,), {}), ((), {"order": 1})]


# Sharing


def test_functions_of_one_shape_share_the_code_and_nothing_else() -> None:
    def make(number: int) -> Any:
        def function(order: int, amount: int = number) -> tuple[int, int]:
            return order, amount

        function.__qualname__ = f"function_{number}"
        return called(three()(function), 0)

    functions = [make(number) for number in range(20)]
    assert len({id(function.__code__) for function in functions}) == 1
    assert [function(7) for function in functions] == [(7, number) for number in range(20)]
    assert [function.__qualname__ for function in functions] == [f"function_{number}" for number in range(20)]


def test_other_parameters_are_another_shape() -> None:
    one, other = called(three()(lambda order: order), 1), called(three()(lambda receipt: receipt), 1)
    assert one.__code__ is not other.__code__
    assert one.__code__.co_filename != other.__code__.co_filename


def test_nothing_is_written_before_the_first_call() -> None:
    guarded = three()(lambda never_seen_before: never_seen_before)
    assert not is_written(guarded)
    assert not any("never_seen_before" in name for name in linecache.cache)
    assert called(guarded, 1)(2) == 2
    assert is_written(guarded)


def test_threads_that_come_first_together_all_get_their_answers() -> None:
    for _ in range(30):
        guarded = three()(lambda order: order)
        gate, answers = threading.Barrier(4), list[int]()

        def run(number: int, gate: Any = gate, guarded: Any = guarded, answers: Any = answers) -> None:
            gate.wait()
            answers.append(guarded(number))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [0, 1, 2, 3]


def test_a_function_that_was_called_goes_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        guarded = called(three()(lambda order: order), 1)
        gone = weakref.ref(guarded)
        del guarded
        assert gone() is None
    finally:
        gc.enable()


# Errors


def failing(order: int) -> None:
    """A function of the user's that fails."""
    raise ValueError(order)


async def afailing(order: int) -> None:
    """The same, awaited."""
    raise ValueError(order)


@pytest.mark.parametrize("call", ["first", "second"])
@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize("on", [ConnectionError, ValueError], ids=["not retried", "retried"])
def test_a_traceback_has_one_frame_of_ours(call: str, way: str, on: type[Exception]) -> None:
    policies = retry(on=on, attempts=2, wait=0), CircuitBreaker(trip=9), Bulkhead(2)
    guarded: Any = Pipeline(*policies)(failing if way == "sync" else afailing)

    def run() -> None:
        guarded(1) if way == "sync" else anyio.run(guarded, 1, backend=way)

    if call == "second":
        with pytest.raises(ValueError):
            run()
    with pytest.raises(ValueError) as caught:
        run()
    frames = traceback.extract_tb(caught.value.__traceback__)
    ours = [frame for frame in frames if "resilience" in frame.filename and "tests" not in frame.filename]
    assert len(ours) == 1
    assert ours[0].filename.startswith("<resilience: ")
    assert ours[0].line  # it can be read
    assert frames[-2] is ours[0]
    assert frames[-1].name == ("failing" if way == "sync" else "afailing")


def test_a_debugger_steps_through_it() -> None:
    guarded = called(three()(lambda order: order), 1)
    told = StringIO()
    debugger = pdb.Pdb(
        stdin=StringIO("step\n" * 8 + "list 1, 20\ncontinue\n"), stdout=told, nosigint=True, readrc=False
    )
    debugger.runcall(guarded, 2)
    assert "# retry" in told.getvalue()
    assert "<resilience: retry, CircuitBreaker, Bulkhead around (order)>" in told.getvalue()


def test_to_be_traced_changes_nothing() -> None:
    lines: list[str] = []

    def trace(frame: Any, event: str, _: object) -> Any:
        lines.append(f"{frame.f_code.co_filename}:{event}")
        return trace

    before = sys.gettrace()
    guarded = three()(lambda order: order)
    sys.settrace(trace)
    try:
        answers = [guarded(number) for number in range(3)]
    finally:
        sys.settrace(before)
    assert answers == [0, 1, 2]
    assert any(line.startswith("<resilience: retry") and line.endswith(":line") for line in lines)


# Others' policies


class Ticket:
    """A policy of a user's: it takes an argument for itself, and looks a global up."""

    def bind(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            say(kwargs.pop("ticket"))
            result = fn(*args, **kwargs)
            return result  # noqa: RET504

        return call

    abind = bind


told: list[str] = []


def say(what: str) -> None:
    """A global of this module, that a test may patch."""
    told.append(what)


def test_a_users_policy_is_called_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([OSError, None, None])

    @Pipeline(retry(on=OSError, wait=0), Ticket(), Bulkhead(3))
    def guarded(order: int, **rest: Any) -> tuple[int, Any]:
        if (error := next(tries)) is not None:
            raise error
        return order, rest

    said: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "say", said.append)
    assert guarded(1, ticket="first", more=2) == (1, {"more": 2})
    assert guarded(3, ticket="second") == (3, {})
    assert said == ["first", "first", "second"]  # the second attempt has its arguments, too
    assert "retry around (*args, **kwargs)" in guarded.__code__.co_filename


def test_what_is_too_deep_stays_nested() -> None:
    guarded = Pipeline(*(Bulkhead(3) for _ in range(25)))(lambda order: order)
    assert guarded(3) == 3
    assert not is_written(guarded)


SHAPES: list[Callable[[Any], Any]] = []


def not_a_shell(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Collects what is not in the form."""
    SHAPES.append(make)
    return make


@not_a_shell
def one_that_returns_twice(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not args:
            return None
        result = fn(*args, **kwargs)
        return result  # noqa: RET504

    return call


@not_a_shell
def one_that_calls_twice(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        fn(*args, **kwargs)
        result = fn(*args, **kwargs)
        return result  # noqa: RET504

    return call


@not_a_shell
def one_that_calls_in_a_loop(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        for _ in range(2):
            result = fn(*args, **kwargs)
        return result

    return call


@not_a_shell
def one_with_a_function(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        say(str(lambda: 1))
        return result

    return call


@not_a_shell
def one_with_an_f_string(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        say(f"{result}")
        return result

    return call


@not_a_shell
def one_that_looks_around(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        locals()
        return result

    return call


@not_a_shell
def one_that_changes_the_arguments(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        args = args[1:]
        result = fn(*args, **kwargs)
        return result  # noqa: RET504

    return call


@not_a_shell
def one_with_text_of_several_lines(fn: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        say("""one
            two""")
        return result

    return call


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_what_the_form_refuses(make: Callable[[Any], Any]) -> None:
    code = make(print).__code__
    assert outline(code) is None or draft(code) is None


def test_a_source_that_was_changed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shell_of_this_test.py"
    text = """
def bind(fn, ok):
    def call(*args, **kwargs):
        if not ok():
            raise PermissionError
        result = fn(*args, **kwargs)
        return result
    return call
"""
    file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    shell = importlib.import_module(file.stem).bind(print, bool)
    assert draft(shell.__code__) is not None
    draft.cache_clear()
    file.write_text(text.replace("if not ok()", "if ok()    "))
    os.utime(file, (1, 1))
    assert draft(shell.__code__) is None


# Functions that are handled oddly


def test_a_proxy_is_not_looked_through() -> None:
    @wrapt.decorator
    def with_session(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped("session", *args, **kwargs)

    guarded = called(three()(with_session(lambda session, order: (session, order))), 1)
    assert guarded(2) == ("session", 2)


def test_a_copy_outlives_the_function() -> None:
    guarded: Any = three()(lambda order: order)
    copied = FunctionType(guarded.__code__, guarded.__globals__, "copied", None, guarded.__closure__)
    assert guarded(1) == 1
    del guarded
    gc.collect()
    assert [copied(2), copied(3)] == [2, 3]


def test_a_tool_may_put_the_first_code_back() -> None:
    guarded: Any = three()(lambda reloaded: reloaded)
    first = guarded.__code__
    assert guarded(1) == 1
    guarded.__code__ = first
    assert [guarded(2), guarded(3)] == [2, 3]


def test_what_a_function_keeps_can_be_sent_elsewhere() -> None:
    guarded: Any = three()(lambda order: order)
    entrance = next(cell.cell_contents for cell in guarded.__closure__ if isinstance(cell.cell_contents, Entrance))
    copied = copy.copy(entrance)
    assert copied.beginning is None  # it is tied to a function that is here
    assert copied.begin()(5) == 5


def test_an_exception_may_have_a_say_about_its_traceback() -> None:
    class Own(ValueError):
        def with_traceback(self, _: object) -> Any:
            raise RuntimeError

    @three()
    def guarded() -> None:
        raise Own

    for _ in range(2):
        with pytest.raises(Own):
            guarded()


def test_a_guard_around_a_guard_takes_what_it_gets() -> None:
    asked: list[Any] = []
    inner = fallback(to=lambda *args, **kwargs: asked.append((args, kwargs)), on=ValueError)(failing)
    outer: Any = Pipeline(Bulkhead(3))(inner)
    outer(order=1)
    outer(1)
    assert is_written(outer)
    assert asked == [((), {"order": 1}), ((1,), {})]


@pytest.mark.parametrize("called_before", [False, True])
def test_what_a_guard_around_a_guard_counts_does_not_depend_on_the_order_of_calls(called_before: bool) -> None:
    inner: Any = Bulkhead(3)(lambda order: order)
    if called_before:
        inner(1)
    breaker = CircuitBreaker()
    outer: Any = breaker(inner)
    for _ in range(2):
        with pytest.raises(TypeError):
            outer()
    assert breaker.stats.failures == 2


def test_what_was_written_for_another_is_there_from_the_decoration_on() -> None:
    def make() -> Any:
        return three()(lambda from_the_beginning: from_the_beginning)

    called(make(), 1)
    assert is_written(make())


def test_a_first_call_near_the_limit_of_recursion_is_made_nested() -> None:
    guarded: Any = three()(lambda near_the_limit: near_the_limit)
    beginning = next(
        cell.cell_contents.beginning for cell in guarded.__closure__ if isinstance(cell.cell_contents, Entrance)
    )

    def deeper() -> Any:
        try:
            return deeper()
        except RecursionError:
            return beginning.function()  # there is hardly a frame left

    assert deeper() is None
    assert guarded(1) == 1
    assert is_written(guarded)  # it was not given up


def test_texts_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_script, "_MOST", 5)
    for number in range(30):
        namespace: dict[str, Any] = {}
        exec(f"def function(name_{number}): return name_{number}", namespace)  # noqa: S102 - a text of ours
        assert called(three()(namespace["function"]), 1)(2) == 2
    assert sum(name.startswith("<resilience: ") for name in linecache.cache) < 30
    assert len(_script._names) < 20


# Switched off, or without a source


def test_an_argument_switches_it_off() -> None:
    assert not is_written(called(three(fuse=False)(lambda order: order), 1))
    with pytest.raises(TypeError, match="fuse must be True or False"):
        three(fuse="no")


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESILIENCE_FUSE", "0")
    assert not is_written(called(three()(lambda order: order), 1))
    monkeypatch.setenv("RESILIENCE_FUSE", "1")
    assert is_written(called(three()(lambda order: order), 1))


PROGRAM = """
import sys
from resilience import Bulkhead, CircuitBreaker, CircuitOpen, Pipeline, retry
import resilience
@Pipeline(retry(on=OSError, attempts=2, wait=0), CircuitBreaker("c", trip=2, cooldown=60), Bulkhead(2))
def guarded(order, amount=2):
    if order < 0:
        raise OSError(order)
    return order, amount
print(guarded(1), guarded(1, amount=3))
for _ in range(2):
    try:
        guarded(-1)
    except Exception as error:
        print(type(error).__name__, len(getattr(error, "__notes__", ())))
print(guarded.__code__.co_filename.startswith("<resilience: retry"))
"""


def test_without_sources_it_is_the_same(tmp_path: Path) -> None:
    def run(place: Path) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("RESILIENCE_FUSE", None)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        return done.stdout.splitlines()

    package = ROOT / "src"
    bare = tmp_path / "bare"
    shutil.copytree(package, bare, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", str(bare)], check=True)
    for source in bare.rglob("*.py"):
        source.unlink()
    written, nested = run(package), run(bare)
    assert written[-1] == "True"
    assert nested[-1] == "False"
    assert written[:-1] == nested[:-1]


# Its source


def test_its_source_can_be_read() -> None:
    def charge(order: int, *, key: str) -> None: ...

    pipeline = Pipeline(retry(on=OSError), CircuitBreaker())
    text = pipeline.source(charge)
    assert "def call(order, *, key):" in text
    assert text.index("# retry") < text.index("# CircuitBreaker") < text.index("result_2 = fn(order, key=key)")
    guarded = called(pipeline(charge), 1, key="k")
    assert "".join(linecache.getlines(guarded.__code__.co_filename)) == f"{text}\n"
    compile(text, "text", "exec")
    assert "noqa" not in text


def test_the_source_of_a_coroutine_function() -> None:
    async def charge(order: int) -> None: ...

    assert "async def call(order):" in timeout(3).source(charge)
    assert "await fn(order)" in timeout(3).source(charge)


def test_the_source_of_what_asks_about_arguments() -> None:
    assert "def call(*args, **kwargs):" in Cache(ttl=3).source(failing)


def test_only_functions_have_one() -> None:
    with pytest.raises(TypeError, match="a policy guards functions"):
        three().source(3)  # type: ignore[arg-type]


def test_names_have_numbers_only_where_two_want_them() -> None:
    text = Bulkhead(3).source(failing)
    assert not any(f"{name}_" in text for name in ("result", "error", "pool"))
    assert "_0" not in Pipeline().source(failing)
