"""The rules of a journal."""

from collections.abc import Callable
from typing import Any

from ._bench import Bench

RULES: tuple[Callable[[Bench[Any]], None], ...] = ()
