"""Where everything is written to, and how wide that is."""

import json
import shutil
from typing import Any, TextIO

from ._words import ascii_only

_WIDE = 160
"""Characters of a line where there is no terminal."""


class Output:
    """What a command prints.

    Args:
        stream: Where to.
        as_json: Whether programs read it.

    Attributes:
        as_json: As given.
        width: How many characters fit into a line.
    """

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self._stream = stream
        self.as_json = as_json
        self.width = shutil.get_terminal_size().columns if stream.isatty() else _WIDE

    def line(self, text: str = "") -> None:
        """A line for people."""
        try:
            text.encode(self._stream.encoding or "utf-8")
        except UnicodeEncodeError:
            text = ascii_only(text)
        self._stream.write(f"{text}\n")

    def document(self, content: Any) -> None:
        """All of the answer, for programs."""
        self.line(json.dumps(content, indent=2))

    def record(self, content: Any) -> None:
        """One line of many, for programs."""
        self.line(json.dumps(content, separators=(",", ":")))
