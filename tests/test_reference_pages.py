"""The reference describes every public name, and nothing that does not exist."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest

REFERENCE = Path(__file__).parents[1] / "docs/reference"
DESCRIBED = re.compile(r"^\.\. (?:auto\w+|py:type):: (resilience[\w.]*)", re.MULTILINE)
MODULES = [
    "resilience",
    "resilience.errors",
    "resilience.events",
    "resilience.http",
    "resilience.presets",
    "resilience.saga",
    "resilience.simulate",
    "resilience.testing",
]


def described() -> set[str]:
    return {name for page in REFERENCE.glob("*.md") for name in DESCRIBED.findall(page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described(module: str) -> None:
    known = [*map(resolve_name, described())]
    home = import_module(module)
    assert [name for name in home.__all__ if not any(getattr(home, name) is one for one in known)] == []
