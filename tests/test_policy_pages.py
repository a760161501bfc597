"""The pages on policies have one form, and say of the options and of the telemetry what the code says.

The table under "Options" has a row for each parameter, in the order of the signature. Its first cell is the name as a
code span. The first code span of its second cell is the default as `repr` writes it (quotes of either kind; a class by
its name); of a parameter without a default the cell is `—`.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import resilience

DOCS = Path(__file__).parents[1] / "docs"
SUBJECTS = {
    "retry": resilience.retry,
    "retry-budget": resilience.RetryBudget,
    "timeout": resilience.timeout,
    "deadline": resilience.deadline,
    "fallback": resilience.fallback,
    "circuit-breaker": resilience.CircuitBreaker,
    "bulkhead": resilience.Bulkhead,
    "rate-limiter": resilience.RateLimiter,
    "hedge": resilience.Hedge,
    "adaptive-bulkhead": resilience.AdaptiveBulkhead,
    "chaos": resilience.Chaos,
    "keyed": resilience.Keyed,
    "cache": resilience.Cache,
    "adaptive-throttle": resilience.AdaptiveThrottle,
    "pipeline": resilience.Pipeline,
}
HEADINGS = [
    "What it is for",
    "Options",
    "What it raises",
    "Events",
    "States",
    "Patterns",
    "Anti-patterns",
    "Telemetry",
    "Laws",
]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TELEMETRY = re.compile(r"\bresilience(?:\.[a-z_]+)+\b")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def section(name: str, heading: str) -> str:
    text = prose(DOCS / "policies" / f"{name}.md")
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_span(cell: str) -> str:
    found = re.search(r"`([^`]+)`", cell)
    return found[1] if found else cell.strip()


def options_of_the_page(name: str) -> list[tuple[str, str]]:
    """Only the first table counts: others may follow, about one option each."""
    table = re.search(r"(?:^\|.*\n)+", section(name, "Options"), re.MULTILINE)
    assert table, f"docs/policies/{name}.md has no table of options"
    rows = [row.strip().strip("|").split("|") for row in table[0].splitlines()[2:]]
    return [(first_span(row[0]).lstrip("*"), first_span(row[1])) for row in rows]


def default(value: object) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


def options_of_the_code(subject: Any) -> list[tuple[str, str]]:
    return [
        (parameter.name, "—" if parameter.default is inspect.Parameter.empty else default(parameter.default))
        for parameter in inspect.signature(subject.__init__).parameters.values()
        if parameter.name != "self"
    ]


def plain(option: tuple[str, str]) -> tuple[str, str]:
    """With one kind of quotes."""
    name, shown = option
    try:
        return name, repr(ast.literal_eval(shown))
    except (ValueError, SyntaxError):
        return name, shown


def test_every_policy_has_a_page() -> None:
    assert {page.stem for page in (DOCS / "policies").glob("*.md")} == {*SUBJECTS, "index"}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_page_has_the_same_parts_as_the_others(name: str) -> None:
    assert re.findall(r"^## (.+)$", prose(DOCS / "policies" / f"{name}.md"), re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_options_are_those_of_the_signature(name: str) -> None:
    assert [*map(plain, options_of_the_page(name))] == [*map(plain, options_of_the_code(SUBJECTS[name]))]


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_page_links_to_the_laws_that_it_is_under(name: str) -> None:
    assert re.search(r"\]\(\.\./laws\.md#law-\d+\)", section(name, "Laws"))


def telemetry_names(page: Path) -> set[str]:
    """What looks like one of ours, and is no module or name of the package."""
    found = set(TELEMETRY.findall(page.read_text(encoding="utf-8")))
    return {name for name in found if not hasattr(resilience, name.split(".")[1])}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_quotes_only_names_that_the_page_on_telemetry_promises(page: Path) -> None:
    assert telemetry_names(page) - telemetry_names(DOCS / "telemetry.md") == set()
