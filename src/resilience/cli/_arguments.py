"""The words of the command line."""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ._app import HOW
from ._listing import STATUSES

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_VERBS = {
    "retry": "try again what is parked",
    "skip": "go on without what is parked: it is settled by hand",
    "undo": "turn back: undo what was done",
    "abort": "end it as it is; nothing more is done or undone",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, as `_main` wants them; ends the process if they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m resilience", description="Tools of the resilience library.")
    saga = parser.add_subparsers(dest="kit", metavar="saga", required=True).add_parser(
        "saga", help="look after sagas", description="Look after the sagas in a journal."
    )
    commands = saga.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _listing(commands)
    _showing(commands)
    for verb in _VERBS:
        _asking(commands, verb)
    _upkeep(commands)
    return parser.parse_args(arguments)


class _Commands(Protocol):
    """What argparse gives no public name: where the parsers of commands are added."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:  # noqa: A002
        """Add one."""
        ...


def _command(commands: _Commands, name: str, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    default = os.environ.get("RESILIENCE_JOURNAL")
    parser.add_argument(
        "--journal", metavar="PATH", default=default, help="the SQLite file; default: $RESILIENCE_JOURNAL"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    return parser


def _listing(commands: _Commands) -> None:
    parser = _command(commands, "list", "list sagas: stuck and open ones first")
    parser.add_argument("--status", action="append", default=[], choices=STATUSES, help="only these; may be repeated")
    parser.add_argument("--saga", metavar="NAME", help="only sagas of this class")
    parser.add_argument("--limit", metavar="N", type=_whole, default=50, help="at most so many; default: 50")


def _showing(commands: _Commands) -> None:
    parser = _command(commands, "show", "show all that has happened to a saga")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--full", action="store_true", help="do not shorten long lines")


def _asking(commands: _Commands, verb: str) -> None:
    parser = _command(commands, verb, _VERBS[verb])
    parser.add_argument("id", metavar="ID")
    needed = verb in {"skip", "abort"}
    parser.add_argument("--reason", metavar="TEXT", required=needed, type=_said, help="why, for the record")
    if verb in {"retry", "skip"}:
        parser.add_argument("--step", metavar="STEP", help="which; default: the one that is parked")
    if verb == "skip":
        parser.add_argument(
            "--value", metavar="JSON", type=_json, help="the result to go on with, if other steps take it"
        )
    parser.add_argument(
        "--wait", metavar="TIME", type=_seconds, default=5.0, help="how long to wait for another process; default: 5s"
    )
    parser.add_argument("--app", metavar="MODULE[:NAME]", help=f"to settle it here if nobody has it: {HOW}")


def _upkeep(commands: _Commands) -> None:
    parser = _command(commands, "export", "write records and letters as JSON lines")
    parser.add_argument("ids", metavar="ID", nargs="*", help="of these sagas; default: of all")
    parser = _command(commands, "check", "look for damage, stuck sagas, and sagas that the code no longer fits")
    parser.add_argument("--app", metavar="MODULE[:NAME]", help=f"the code to compare with: {HOW}")
    parser = _command(commands, "purge", "forget sagas that ended long ago; without --yes, count them")
    parser.add_argument("--older-than", metavar="TIME", type=_seconds, required=True, help="since they ended: 30d, 12h")
    parser.add_argument(
        "--status", action="append", default=[], choices=STATUSES[2:], help="only these; may be repeated"
    )
    parser.add_argument("--yes", action="store_true", help="really do it")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give a number and s, m, h, d or w, like 30d")
    return float(match[1]) * _UNITS[match[2]]


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of sagas: give a whole number, at least 1")
    return int(text)


def _said(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; say why, for whoever reads the record")
    return text


def _json(text: str) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no JSON: {error}; a text needs its quotes: '\"text\"'"
        ) from error
