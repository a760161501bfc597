"""The examples of README.md and docs/ are tests: each page runs from top to bottom, on a virtual clock.

A `text` block after code that printed something is what the code must have printed; `...` stands for anything.
"""

import doctest
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from resilience.testing import sandbox

_python = PythonEvaluator()
_output = doctest.OutputChecker()


def enter_sandbox(namespace: dict[str, Any]) -> None:
    """Waits take no time on any page."""
    namespace["_sandbox"] = sandbox()
    namespace["_sandbox"].__enter__()


def leave_sandbox(namespace: dict[str, Any]) -> None:
    """The next page starts calm."""
    namespace["_sandbox"].__exit__(None, None, None)


def run(example: Example) -> str | None:
    """Execute a block and keep what it prints."""
    with redirect_stdout(StringIO()) as printed:
        problem = _python(example)
    example.namespace["_printed"] = printed.getvalue()
    return problem


def compare(example: Example) -> str | None:
    """Hold a text block against what the code above it printed; without any print it is a picture."""
    printed, shown = example.namespace.pop("_printed", ""), str(example.parsed)
    if not printed or _output.check_output(shown, printed, doctest.ELLIPSIS):
        return None
    return f"the page says:\n{shown}\nthe code printed:\n{printed}"


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run), CodeBlockParser("text", compare), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=enter_sandbox,
    teardown=leave_sandbox,
).pytest()
