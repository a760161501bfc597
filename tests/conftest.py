"""What every test may rely on: both event loops, a few Hypothesis profiles, and laws that carry a real number."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

LAWS = range(1, 98)

# No deadline: a property is about what happens, and a busy machine is not a counterexample.
settings.register_profile("base", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# Small and the same in every run, so that a red pipeline is about the change at hand; `full` is there to search.
settings.register_profile(
    "ci", settings.get_profile("base"), max_examples=25, stateful_step_count=30, derandomize=True, database=None
)
# The same, for interpreters after the first one: they are asked whether they differ, not whether a law holds.
settings.register_profile("again", settings.get_profile("ci"), max_examples=8, stateful_step_count=20)
settings.register_profile("full", settings.get_profile("base"), max_examples=1_000, stateful_step_count=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """What has been imported by now stays; the tests that collect garbage need not look through it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test: each runs on asyncio and on trio."""
    backend: str = request.param
    return backend


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that cites a law cites one that exists."""
    for item in items:
        for mark in item.iter_markers("law"):
            if not mark.args or mark.kwargs or not all(number in LAWS for number in mark.args):
                problem = f"{item.nodeid}: law{mark.args} must cite numbers from {LAWS.start} to {LAWS.stop - 1}"
                raise pytest.UsageError(problem)
