"""Prove that both type checkers refuse the bad uses: every line marked `# E: reason`, and no other line."""

import json
import subprocess
import sys
from pathlib import Path


def marked(path: Path) -> set[int]:
    """The lines that must be refused."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if "# E: " in line}


def run(*command: str) -> str:
    """What a checker prints; that it finds errors is the point, so its exit code says nothing."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def mypy(path: Path) -> set[int]:
    """The lines that mypy refuses."""
    found = map(json.loads, run("mypy", "--output", "json", str(path)).splitlines())
    return {problem["line"] for problem in found if problem["severity"] == "error" and problem["file"] == str(path)}


def pyright(path: Path) -> set[int]:
    """The lines that pyright refuses; it counts from zero."""
    found = json.loads(run("pyright", "--outputjson", str(path)))["generalDiagnostics"]
    return {problem["range"]["start"]["line"] + 1 for problem in found if problem["severity"] == "error"}


def main(name: str) -> int:
    """Compare what is marked with what each checker finds."""
    path = Path(name)
    expected, wrong = marked(path), False
    for checker in (mypy, pyright):
        found = checker(path)
        for line in sorted(expected ^ found):
            wrong = True
            verdict = "accepts what is marked" if line in expected else "refuses this"
            print(f"{path}:{line}: {checker.__name__} {verdict}")
    print(f"{path}: {len(expected)} bad uses, {'not all as marked' if wrong else 'each refused by both checkers'}")
    return wrong or not expected


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
