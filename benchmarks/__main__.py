"""Measure everything, and write `docs/performance.md` from it.

    python -m benchmarks --results FOLDER               # measure on this interpreter: some ten minutes
    python -m benchmarks --results FOLDER --brief       # the hot paths only: two minutes
    python -m benchmarks --results FOLDER --quick       # see that all of it runs: a minute, for no page
    python -m benchmarks --results FOLDER --page docs   # write the page from the figures of all interpreters there

`nox -s bench` does both, on each CPython that the machine has of those that the page is about.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import page, peers

PARTS: dict[str, tuple[list[str], list[str]]] = {
    "hot_path": (["--rounds", "30"], ["--rounds", "2"]),
    "crowds": ([], ["--quick"]),
    "keys": ([], []),
    "telemetry": (["--rounds", "10"], ["--rounds", "2"]),
    "import_time": ([], []),
    "sagas": ([], ["--seconds", "1"]),
}
"""What is run, and how: in full, and quickly."""


def measure(folder: Path, parts: list[str], *, quick: bool) -> None:
    """Run parts, each in a process of its own, and keep what they say."""
    folder.mkdir(parents=True, exist_ok=True)
    version = platform.python_version()
    hot = folder / "hot_path.json"
    said: dict[str, str] = {}
    for part in parts:
        full, quickly = PARTS[part]
        print(f"{part} ...", file=sys.stderr, flush=True)
        options = [*(quickly if quick else full), *(["--json", str(hot)] if part == "hot_path" else [])]
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{part}", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=1_200, check=True)
        said[part] = done.stdout
    figures: dict[str, Any] = {
        "version": version,
        "machine": machine(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "peers": peers.versions(),
        "said": said,
        "hot_path": json.loads(hot.read_text(encoding="utf-8")),
    }
    hot.unlink()
    (folder / f"cpython-{version}.json").write_text(json.dumps(figures), encoding="utf-8")


def machine() -> str:
    """The processor, and how many the process may use."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="where the figures are kept")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--brief", action="store_true", help="only the hot paths")
    parser.add_argument("--page", type=Path, help="write performance.md and its pictures into this folder")
    options = parser.parse_args()
    if options.page is None:
        # A million of anything takes its time.
        parts = ["hot_path"] if options.brief else [part for part in PARTS if part != "keys" or not options.quick]
        measure(options.results, parts, quick=options.quick)
        return
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(options.results.glob("cpython-*.json"))]
    if not found:
        raise SystemExit(f"there are no figures in {options.results}; measure first")
    page.write(found, options.page)


if __name__ == "__main__":
    main()
