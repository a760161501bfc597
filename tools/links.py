"""Check the links between the pages: the file must exist, and the heading or anchor in it that the link names."""

import re
import sys
from pathlib import Path

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, made as the usual renderers make them, and the anchors that it sets itself."""
    text = prose(page)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain} | set(ANCHOR.findall(text))


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere; those that leave the project are not followed."""
    problems = []
    for link in LINK.findall(INLINE.sub("", prose(page))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists():
            problems.append(f"{page}: {link}: no such file")
        elif anchor and anchor not in anchors(target):
            problems.append(f"{page}: {link}: no such heading or anchor")
    return problems


def main(*names: str) -> int:
    """Check pages, and every page of the folders."""
    pages = [page for name in names for page in (Path(name).rglob("*.md") if Path(name).is_dir() else [Path(name)])]
    problems = [problem for page in sorted(pages) for problem in broken(page)]
    print(*problems, f"{len(pages)} pages, {len(problems)} broken links", sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
