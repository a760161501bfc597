"""From arguments to an exit code. Whatever goes wrong is told in a line, and never as a traceback."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from .._clock import clock
from ..errors import SagaError
from ..saga import Journal, SQLiteJournal
from ..saga._wording import plain
from . import _backtesting, _explaining
from ._app import App, UsageError
from ._arguments import parse
from ._asking import Wish, ask
from ._listing import list_sagas
from ._output import Output
from ._story import story_of
from ._timeline import show
from ._upkeep import check, export, purge

_WRONG, _MISUSED, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words of the command line; default: those of this process.

    Returns:
        The exit code: 0 if all is well, 1 if something is wrong, 2 if the command is.
    """
    given = parse(arguments)
    logging.getLogger("resilience").addHandler(logging.NullHandler())
    try:
        code = _run(given)
        sys.stdout.flush()
    except UsageError as error:
        return _failed(error, _MISUSED)
    except SagaError as error:
        return _failed(error, _WRONG)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _WRONG
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - an operator has no use for a traceback
        return _failed(f"{type(error).__name__}: {error}", _WRONG)
    return code


def _run(given: Namespace) -> int:
    output = Output(sys.stdout, as_json=given.json)
    match given.kit:
        case "backtest":
            return _backtesting.run(given.traffic, given.pipeline, output, policy=given.policy, seed=given.seed)
        case "explain":
            return _explaining.explain(given.target, output)
        case "lint":
            return _explaining.lint(given.targets, given.ignore, output)
        case _:
            return _look_after(given, output)


def _look_after(given: Namespace, output: Output) -> int:
    """What is asked about sagas."""
    app = App(getattr(given, "app", None))
    with _journal(given.journal, thorough=given.command == "check") as journal:
        match given.command:
            case "list":
                return list_sagas(
                    journal, output, clock.wall(), status=given.status, saga=given.saga, limit=given.limit
                )
            case "show":
                return show(story_of(journal, given.id), output, clock.wall(), full=given.full)
            case "export":
                return export(journal, given.ids, output)
            case "check":
                return check(journal, app, output)
            case "purge":
                older, status = given.older_than, given.status
                return purge(journal, output, clock.wall(), older=older, status=status, really=given.yes)
            case verb:
                wish = Wish(verb, getattr(given, "step", None), given.reason or "", getattr(given, "value", None))
                return ask(journal, given.id, wish, app, output, given.wait)


def _journal(path: str | None, *, thorough: bool) -> Journal:
    if not path:
        raise UsageError("which journal? give --journal PATH, or set RESILIENCE_JOURNAL")
    if not Path(path).exists():  # never an empty journal where somebody mistyped a name
        raise UsageError(f"there is no journal at {path!r}")
    return SQLiteJournal(path, check=thorough)


def _failed(error: object, code: int) -> int:
    sys.stderr.write(f"error: {plain(str(error))}\n")
    return code
