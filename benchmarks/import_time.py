"""How long `import resilience` takes, and what it brings along.

    python -m benchmarks.import_time

Each run is a fresh interpreter. The floor is what the run-time dependencies that it cannot do without take by
themselves.
"""

import statistics
import subprocess
import sys

RUNS = 15
CANDIDATES = {
    "nothing": "pass",
    "anyio + opentelemetry.trace": "import anyio, opentelemetry.trace",
    "resilience": "import resilience",
    "resilience, first retry made": "import resilience; resilience.retry(on=OSError)",
}
WATCHED = ("asyncio", "trio", "tenacity", "opentelemetry.sdk", "opentelemetry.metrics", "httpx", "rich")


def milliseconds(statement: str) -> float:
    """One run: the time the statement takes in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def brought_along() -> list[str]:
    """Which of the watched modules `import resilience` loads."""
    code = f"import resilience, sys; print(*[name for name in {WATCHED!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(RUNS):
        for name, statement in CANDIDATES.items():
            times[name].append(milliseconds(statement))
    print(f"CPython {sys.version.split()[0]}, {RUNS} interleaved runs")
    for name, values in times.items():
        print(f"{name:<32} min {min(values):6.1f} ms   median {statistics.median(values):6.1f} ms")
    print(f"of {', '.join(WATCHED)}: loads {', '.join(brought_along()) or 'none'}")


if __name__ == "__main__":
    main()
