"""Every scenario that docs/scenarios.md lists is shown by a test that cites it, and no test cites another."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTED = re.compile(r'^- <a id="scenario-(\d+)"></a>\*\*\1\.\*\* ', re.MULTILINE)
CITED = re.compile(r"mark\.scenario\(([\d, ]+)\)")


def listed() -> set[int]:
    return {int(number) for number in LISTED.findall((ROOT / "docs/scenarios.md").read_text(encoding="utf-8"))}


def cited() -> set[int]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {int(number) for source in sources for group in CITED.findall(source) for number in group.split(",")}


def test_every_listed_scenario_is_shown_by_a_test() -> None:
    assert listed() - cited() == set()


def test_no_test_cites_a_scenario_that_is_not_listed() -> None:
    assert cited() - listed() == set()
