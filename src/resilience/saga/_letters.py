"""Requests from outside, as the letters of a journal: what a handle or the command line asks of a saga."""

from typing import get_args

import msgspec
from msgspec import Raw, Struct

from .._core.saga.effects import Request
from .._core.saga.entries import NOTHING, Verb
from ._journal import Letter

VERBS: tuple[str, ...] = get_args(Verb)


class _Asked(Struct, omit_defaults=True):
    verb: Verb
    step: str | None = None
    reason: str = ""
    value: Raw = NOTHING


_decoder: msgspec.json.Decoder[_Asked] = msgspec.json.Decoder(_Asked)


def write_request(verb: Verb, *, step: str | None = None, reason: str = "", value: bytes | None = None) -> bytes:
    """A request as the value of a letter to `CONTROL`.

    Args:
        verb: What is asked for.
        step: For which step; `None`: whichever it concerns.
        reason: Why.
        value: A result to go on with, as JSON.
    """
    return msgspec.json.encode(_Asked(verb, step, reason, NOTHING if value is None else Raw(value)))


def read_request(letter: Letter, now: float) -> Request:
    """The request in a letter.

    Raises:
        ValueError: There is none.
    """
    asked = _decoder.decode(letter.value)
    value = bytes(asked.value)
    return Request(
        asked.verb, now, letter.row, letter.who, asked.step, asked.reason, None if value == bytes(NOTHING) else value
    )
