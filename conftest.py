"""The examples of README.md and docs/ are tests: each page runs from top to bottom, on a virtual clock."""

from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from resilience.testing import sandbox


def enter_sandbox(namespace: dict[str, Any]) -> None:
    """Waits take no time on any page."""
    namespace["_sandbox"] = sandbox()
    namespace["_sandbox"].__enter__()


def leave_sandbox(namespace: dict[str, Any]) -> None:
    """The next page starts calm."""
    namespace["_sandbox"].__exit__(None, None, None)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=enter_sandbox,
    teardown=leave_sandbox,
).pytest()
