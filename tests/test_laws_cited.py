"""Every law that docs/laws.md publishes has a test that cites it, and no test cites another."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLISHED = re.compile(r'^- <a id="law-(\d+)"></a>\*\*\1\.\*\* ', re.MULTILINE)
CITED = re.compile(r"mark\.law\(([\d, ]+)\)")


def published() -> set[int]:
    return {int(number) for number in PUBLISHED.findall((ROOT / "docs/laws.md").read_text(encoding="utf-8"))}


def cited() -> set[int]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {int(number) for source in sources for group in CITED.findall(source) for number in group.split(",")}


def test_every_published_law_is_cited_by_a_test() -> None:
    assert published() - cited() == set()


def test_no_test_cites_a_law_that_is_not_published() -> None:
    assert cited() - published() == set()
