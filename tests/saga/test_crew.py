"""Who is out of reach of the caller's cancellation, and who ends with the saga."""

import anyio.lowlevel
import pytest

from resilience.saga._crew import Crew, apart

pytestmark = pytest.mark.anyio


async def test_what_has_not_come_to_run_when_all_is_over_does_not_begin() -> None:
    begun: list[str] = []

    async def late() -> None:
        begun.append("late")

    async def main(crew: Crew) -> None:
        crew.start(late)

    await apart(main, lambda: None)
    await anyio.lowlevel.checkpoint()
    assert begun == []


async def test_what_runs_when_all_is_over_is_cancelled() -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("endless")

    async def main(crew: Crew) -> None:
        crew.start(endless)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    await apart(main, lambda: None)
    assert ended == ["endless"]
