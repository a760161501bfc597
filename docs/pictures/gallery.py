"""All pictures there are, and how they become files: NAME-light.svg and NAME-dark.svg, the same bytes in every run."""

import importlib
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docs.pictures.style import DARK, LIGHT, Style, settings

PICTURES = {
    "adaptive-limit": "adaptive_limit",
    "breaker-fleet": "breaker_fleet",
    "breaker-outage": "breaker_outage",
    "breaker-states": "breaker_states",
    "bulkhead-slow-dependency": "bulkhead_slow_dependency",
    "deadline-caller-gone": "deadline_caller_gone",
    "full-jitter": "full_jitter",
    "metastable": "metastable",
    "retries-multiply": "retries_multiply",
    "retry-budget": "retry_budget",
    "retry-storm": "retry_storm",
}
"""The names of the pictures, and the modules that draw them."""


def picture(name: str) -> Any:
    """The module of a picture: it has `SIZE`, `experiment` and `draw`."""
    return importlib.import_module(f"docs.pictures.{PICTURES[name]}")


def save(module: Any, shown: Any, style: Style, file: Path) -> None:
    """Draw what an experiment found, in one style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(settings(style)):
        figure = Figure(figsize=module.SIZE)
        module.draw(figure, shown, style)
        figure.savefig(file, format="svg", transparent=True, metadata={"Creator": None, "Date": None})


def main(out: str, *names: str) -> int:
    """Draw the pictures of these names, or all, into a folder."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _quietly():
        for name in names or PICTURES:
            began = time.process_time()
            module = picture(name)
            shown = module.experiment()
            for style in (LIGHT, DARK):
                save(module, shown, style, folder / f"{name}-{style.name}.svg")
            print(f"{name}: {time.process_time() - began:.1f} s")
    return 0


@contextmanager
def _quietly() -> Generator[None]:
    """Without warnings: what goes wrong in a picture is its subject."""
    logger = logging.getLogger("resilience")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
