"""How long `import resilience` takes, and what it brings along.

    python -m benchmarks.import_time

Each run is a fresh interpreter with the bytecode of all modules at hand, as after `pip install`. The floor is what the
run-time dependencies that it cannot do without take by themselves.
"""

import os
import statistics
import subprocess
import sys
import tempfile

RUNS = 15
CANDIDATES = {
    "nothing": "pass",
    "anyio + opentelemetry": "import anyio, opentelemetry.trace, opentelemetry.metrics",
    "resilience": "import resilience",
    "the usual names": "from resilience import Bulkhead, CircuitBreaker, Pipeline, retry, timeout",
    "every name": "from resilience import *",
    "every name, first retry made": "from resilience import *; retry(on=OSError)",
}
WATCHED = ("asyncio", "trio", "tenacity", "opentelemetry.sdk", "httpx", "rich")


def run(code: str, bytecode: str) -> str:
    """What a fresh interpreter prints that keeps its bytecode in a folder."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout


def milliseconds(statement: str, bytecode: str) -> float:
    """One run: the time the statement takes in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1000)"
    return float(run(code, bytecode))


def brought_along(bytecode: str) -> list[str]:
    """Which of the watched modules `import resilience` loads."""
    return run(
        f"import resilience, sys; print(*[name for name in {WATCHED!r} if name in sys.modules])", bytecode
    ).split()


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as bytecode:
        for statement in CANDIDATES.values():  # the first run compiles
            milliseconds(statement, bytecode)
        report(bytecode)


def report(bytecode: str) -> None:
    """Measure with the bytecode at hand, and print."""
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(RUNS):
        for name, statement in CANDIDATES.items():
            times[name].append(milliseconds(statement, bytecode))
    print(f"CPython {sys.version.split()[0]}, {RUNS} interleaved runs")
    for name, values in times.items():
        print(f"{name:<34} min {min(values):6.1f} ms   median {statistics.median(values):6.1f} ms")
    print(f"of {', '.join(WATCHED)}: loads {', '.join(brought_along(bytecode)) or 'none'}")


if __name__ == "__main__":
    main()
