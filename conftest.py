"""The examples of README.md and docs/ are tests: each page runs from top to bottom, on a virtual clock.

A `text` block after code that printed something is what the code must have printed; `...` stands for anything.
What a page needs and nobody wants to read stands in a comment: `<!-- invisible-code-block: python ... -->`.
"""

import doctest
import gc
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from weakref import WeakSet

import opentelemetry.metrics._internal as metering
import opentelemetry.trace as tracing
from opentelemetry.util._once import Once
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from resilience import _live
from resilience.testing import sandbox

_python = PythonEvaluator()
_output = doctest.OutputChecker()


def enter_sandbox(namespace: dict[str, Any]) -> None:
    """Waits take no time on any page, and no page sees the policies that another, or a test, has made."""
    namespace["_others"], _live._all = _live._all, WeakSet()
    namespace["_sandbox"] = sandbox()
    namespace["_sandbox"].__enter__()


def leave_sandbox(namespace: dict[str, Any]) -> None:
    """The next page starts calm, and without the SDK that this one may have installed."""
    namespace["_sandbox"].__exit__(None, None, None)
    tracing._TRACER_PROVIDER = None
    tracing._TRACER_PROVIDER_SET_ONCE = Once()
    metering._METER_PROVIDER = None
    metering._METER_PROVIDER_SET_ONCE = Once()
    metering._PROXY_METER_PROVIDER = metering._ProxyMeterProvider()
    _live._all.update(namespace["_others"])
    namespace.clear()  # sybil keeps it as long as the run
    gc.collect()


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
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    setup=enter_sandbox,
    teardown=leave_sandbox,
).pytest()
