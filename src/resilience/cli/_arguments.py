"""The words of the command line."""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from .._lint import CODES
from . import _explaining
from ._app import HOW
from ._listing import STATUSES

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_AS_IT_IS = argparse.RawDescriptionHelpFormatter

_VERBS = {
    "cancel": ("turn back: undo what was done, as if its caller cancelled it", "order-42 --reason 'out of stock'"),
    "pause": ("let no further step begin, until resume", "order-42 --reason 'the bank is down'"),
    "resume": ("let it go on after a pause", "order-42"),
    "retry": ("try again what is parked", "order-42 --reason 'stock is up' --app shop.sagas"),
    "skip": (
        "go on without what is parked: it is settled by hand",
        "order-42 --step charge --value 7 --reason 'charged by phone'",
    ),
    "undo": ("turn back what is stuck: undo what was done", "order-42 --reason 'the customer gave up'"),
    "abort": ("end it as it is; nothing more is done or undone", "order-42 --reason 'a test order'"),
}
"""What may be asked of a saga: what it means, and an example of its words."""

_ABOUT = """Look after the sagas in a journal, while the application runs or is stopped.

What is asked of a saga is heard by the process that has it, and written into
the journal with who, when and why. If no process has it, --app says where its
class is, and it is done here."""

_START = """start with:
  export RESILIENCE_JOURNAL=sagas.db
  python -m resilience saga list
  python -m resilience saga show order-42    # and what may be typed then

The exit code is 0 if all is well, 1 if something is wrong or was refused,
2 if the command is."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, as `_main` wants them; ends the process if they make no sense."""
    about = "Tools of the resilience library."
    example = "example:\n  python -m resilience saga list --journal sagas.db"
    parser = argparse.ArgumentParser(
        prog="python -m resilience", description=about, epilog=example, formatter_class=_AS_IT_IS
    )
    kits = parser.add_subparsers(dest="kit", metavar="TOOL", required=True)
    saga = kits.add_parser(
        "saga", help="look after sagas", description=_ABOUT, epilog=_START, formatter_class=_AS_IT_IS
    )
    commands = saga.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _listing(commands)
    _showing(commands)
    for verb, (about, example) in _VERBS.items():
        _asking(commands, verb, about, example)
    _upkeep(commands)
    _backtest(kits)
    _explain(kits)
    _lint(kits)
    return parser.parse_args(arguments)


class _Commands(Protocol):
    """What argparse gives no public name: where the parsers of commands are added."""

    def add_parser(self, name: str, **texts: Any) -> argparse.ArgumentParser:
        """Add one."""
        ...


def _command(commands: _Commands, name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"example:\n  python -m resilience saga {name} {example}",
        formatter_class=_AS_IT_IS,
    )
    default = os.environ.get("RESILIENCE_JOURNAL")
    parser.add_argument(
        "--journal", metavar="PATH", default=default, help="the SQLite file; default: $RESILIENCE_JOURNAL"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    return parser


def _listing(commands: _Commands) -> None:
    parser = _command(commands, "list", "list sagas: stuck and open ones first", "--status stuck --saga place-order")
    parser.add_argument("--status", action="append", default=[], choices=STATUSES, help="only these; may be repeated")
    parser.add_argument("--saga", metavar="NAME", help="only sagas of this class")
    parser.add_argument("--limit", metavar="N", type=_whole, default=50, help="at most so many; default: 50")


def _showing(commands: _Commands) -> None:
    parser = _command(commands, "show", "show all that has happened to a saga, and what may be typed now", "order-42")
    parser.add_argument("id", metavar="ID", help="the saga")
    parser.add_argument("--full", action="store_true", help="do not shorten long lines")


def _asking(commands: _Commands, verb: str, about: str, example: str) -> None:
    parser = _command(commands, verb, about, example)
    parser.add_argument("id", metavar="ID", help="the saga")
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
    parser = _command(commands, "export", "write records and letters as JSON lines", "order-42 > order-42.jsonl")
    parser.add_argument("ids", metavar="ID", nargs="*", help="of these sagas; default: of all")
    parser = _command(
        commands, "check", "look for damage, stuck sagas, and sagas that the code no longer fits", "--app shop.sagas"
    )
    parser.add_argument("--app", metavar="MODULE[:NAME]", help=f"the code to compare with: {HOW}")
    parser = _command(
        commands, "purge", "forget sagas that ended long ago; without --yes, count them", "--older-than 30d --yes"
    )
    parser.add_argument("--older-than", metavar="TIME", type=_seconds, required=True, help="since they ended: 30d, 12h")
    parser.add_argument(
        "--status", action="append", default=[], choices=STATUSES[2:], help="only these; may be repeated"
    )
    parser.add_argument("--yes", action="store_true", help="really do it")


def _backtest(kits: _Commands) -> None:
    about = "drive recorded traffic through a changed pipeline, and tell what would have been different"
    parser = kits.add_parser(
        "backtest",
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog="example:\n  python -m resilience backtest traffic.jsonl shop.clients:payments",
        formatter_class=_AS_IT_IS,
    )
    parser.add_argument("traffic", metavar="TRAFFIC", help="the file that resilience.record has written")
    parser.add_argument("pipeline", metavar="MODULE:NAME", help="the changed pipeline, or any policy")
    parser.add_argument("--policy", metavar="NAME", help="whose traffic, if that of several was recorded")
    parser.add_argument("--seed", metavar="N", type=_seed, default=0, help="seeds jitter and lots; default: 0")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def _explain(kits: _Commands) -> None:
    about = "tell what pipelines and decorated functions promise: how long, how many calls, which refusals"
    parser = kits.add_parser(
        "explain",
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog="example:\n  python -m resilience explain shop.clients:payments",
        formatter_class=_AS_IT_IS,
    )
    parser.add_argument("target", metavar="MODULE[:NAME]", help=_explaining.HOW)
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def _lint(kits: _Commands) -> None:
    about = "tell what is doubtful in pipelines and decorated functions; the exit code is 1 if something is"
    codes = "\n".join(f"  {code:<16} {what}" for code, what in CODES.items())
    parser = kits.add_parser(
        "lint",
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"doubts:\n{codes}\n\nexample:\n  python -m resilience lint shop.clients --ignore many-calls",
        formatter_class=_AS_IT_IS,
    )
    parser.add_argument("targets", metavar="MODULE[:NAME]", nargs="+", help=_explaining.HOW)
    parser.add_argument(
        "--ignore", metavar="CODE", action="append", default=[], choices=CODES, help="no doubt here; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give a number and s, m, h, d or w, like 30d")
    return float(match[1]) * _UNITS[match[2]]


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of sagas: give a whole number, at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number, at least 0")
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
