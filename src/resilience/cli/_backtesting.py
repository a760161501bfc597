"""`backtest`: what a changed pipeline would have done with recorded traffic, told to people and to programs."""

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from .._backtest import Backtest, NoReplay, backtest
from .._core.replay import Call, Ended, Latency, Side, Turn
from .._layer import SupportsBind
from .._traffic_file import NoRecording, read
from ._app import UsageError
from ._output import Output
from ._words import counted, duration, iso, moment, table

_HOW = "give module:name of a policy, as in shop.clients:payments"

_LABEL = 10
"""Characters before a row of the timeline."""

_COLUMNS = 72
_FEW = 0.5
"""The share of a column's calls from which on a capital letter tells of them."""

_MOST_TOLD = 8
"""Openings, and damaged lines, that are told one by one."""

_LEGEND = "+ all went well   f some failed   F most failed   r some were refused   R most were refused"


def run(path: str, target: str, output: Output, *, policy: str | None, seed: int) -> int:
    """Replay a recording, and tell what would have been different.

    Args:
        path: The recording.
        target: The changed pipeline, as "module:name".
        output: Where to tell it.
        policy: Whose traffic, where several pipelines were recorded.
        seed: Seeds jitter and lots.

    Returns:
        The exit code.
    """
    pipeline = _pipeline(target)
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder; give the file that resilience.record has written")
    try:
        calls, turns, damaged = read(Path(path))
        name = _chosen(path, calls, policy)
        mine = [call for call in calls if call.policy == name]
        found = backtest(mine, [turn for turn in turns if turn.policy == name], pipeline, seed=seed)
    except (OSError, NoRecording, NoReplay) as error:
        raise UsageError(str(error)) from error
    if damaged:
        found.notes.append(_left_out(damaged))
    if output.as_json:
        output.document(_document(found, name, target))
    else:
        for line in [*_report(found, name, target)]:  # all of it, or nothing
            output.line(line)
    return 0


def _left_out(damaged: Sequence[int]) -> str:
    one = len(damaged) == 1
    return (
        f"{counted(len(damaged), 'line')} of the recording {'is' if one else 'are'} damaged, and "
        f"{'was' if one else 'were'} left out: {'line' if one else 'lines'} {_few(map(str, damaged))}"
    )


def _few(them: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    said = [*them]
    more = f", and {len(said) - _MOST_TOLD:,} more" if len(said) > _MOST_TOLD else ""
    return ", ".join(said[:_MOST_TOLD]) + more


def _chosen(path: str, calls: Sequence[Call], policy: str | None) -> str:
    numbers = Counter(call.policy for call in calls)
    if not numbers:
        raise UsageError(f"no call is recorded in {path}")
    there = ", ".join(f"{name} ({counted(number, 'call')})" for name, number in numbers.most_common())
    if policy is None and len(numbers) > 1:
        raise UsageError(f"several pipelines are recorded in {path}: {there}; choose one with --policy NAME")
    if policy is not None and policy not in numbers:
        raise UsageError(f"no call of {policy!r} is recorded in {path}; there are {there}")
    return policy or next(iter(numbers))


def _pipeline(target: str) -> SupportsBind:
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise UsageError(f"{target!r} names no pipeline; {_HOW}")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the application's own code raises
        raise UsageError(f"{target}: importing {module_name!r} raised {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{target}: {module_name!r} has no {path!r}; {_HOW}")
        found = getattr(found, part)
    if isinstance(found, type) or not isinstance(found, SupportsBind):
        raise UsageError(f"{target} is {found!r}, and no policy; {_HOW}")
    return found


# For programs


def _document(found: Backtest, name: str, target: str) -> dict[str, Any]:
    turns = {"before": found.turns_before, "after": found.turns_after}
    return {
        "policy": name,
        "pipeline": target,
        "calls": len(found.calls),
        "began": iso(found.calls[0].at),
        "ended": iso(_end(found)),
        **_rounded(asdict(found.comparison)),
        "turns": {side: [_turn(one) for one in some] for side, some in turns.items()},
        "guesses": found.guesses,
        "cut": found.cut,
        "notes": found.notes,
    }


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """To microseconds, as they were recorded."""
    return {
        key: _rounded(cast("dict[str, Any]", value)) if isinstance(value, dict) else value and round(value, 6)
        for key, value in figures.items()
    }


def _turn(turn: Turn) -> dict[str, str | None]:
    return {"at": iso(turn.at), "breaker": turn.breaker, "state": turn.state}


# For people


def _report(found: Backtest, name: str, target: str) -> Iterator[str]:
    began = found.calls[0].at
    yield f"{name}: {counted(len(found.calls), 'call')} in {duration(_end(found) - began)}, from {moment(began)} UTC"
    yield f"replayed through {target}"
    yield ""
    yield from _sides(found.comparison.before, found.comparison.after)
    yield ""
    yield from _differences(found)
    yield ""
    yield from _timeline(found)
    yield ""
    yield from _turns(found)
    yield from _doubts(found)


def _sides(before: Side, after: Side) -> Iterator[str]:
    rows = [("", "before", "after")]
    for what in ("good", "failed", "refused", "cancelled"):
        figures = (getattr(before, what), getattr(after, what))
        if any(figures) or what != "cancelled":
            rows.append((f"{what} calls", f"{figures[0]:,}", f"{figures[1]:,}"))
    rows.append(("attempts", f"{before.attempts:,}", f"{after.attempts:,}"))
    rows.append(("all calls took", _times(before.latency), _times(after.latency)))
    rows.append(("good calls took", _times(before.good_latency), _times(after.good_latency)))
    yield from table(rows)
    yield "(half of them at most, 95 %, 99 %, all)"


def _times(times: Latency | None) -> str:
    if times is None:
        return "-"
    return " / ".join(map(duration, (times.p50, times.p95, times.p99, times.longest)))


def _differences(found: Backtest) -> Iterator[str]:
    one = found.comparison
    less = f"; their callers wait {duration(one.spared_seconds)} less, together" if one.spared else ""
    yield from table(
        [
            (f"{one.spared:,}", f"doomed calls spared: they failed, and are refused{less}"),
            (f"{one.lost:,}", "good calls lost: they went well, and are refused"),
            (f"{one.harmed:,}", "good calls harmed: they went well, and fail"),
            (f"{one.rescued:,}", "calls rescued: they failed or were refused, and go well"),
        ]
    )


def _timeline(found: Backtest) -> Iterator[str]:
    """Time from left to right: how the calls of each column ended, and when each breaker was open."""
    began = found.calls[0].at
    width = max(_end(found) - began, 1e-6) / _COLUMNS
    yield f"{'':{_LABEL}}{moment(began)[11:]:<{_COLUMNS - 8}}{moment(_end(found))[11:]}"
    columns = [min(int((call.at - began) / width), _COLUMNS - 1) for call in found.calls]
    for side, run_, turns in (
        ("before", found.before, found.turns_before),
        ("after", found.after, found.turns_after),
    ):
        yield f"{side:{_LABEL}}{_row(columns, run_)}"
        for breaker in sorted({turn.breaker for turn in turns}):
            own = [turn for turn in turns if turn.breaker == breaker]
            yield f"{'  open':{_LABEL}}{_open_row(own, began, width)}  {breaker}"
    yield f"{'':{_LABEL}}{_LEGEND}"


def _row(columns: Sequence[int], ended: Sequence[Ended]) -> str:
    verdicts: list[Counter[str]] = [Counter() for _ in range(_COLUMNS)]
    for column, one in zip(columns, ended, strict=True):
        verdicts[column][one.verdict] += 1
    return "".join(map(_sign, verdicts))


def _sign(verdicts: Counter[str]) -> str:
    """What the calls of one column have met, as a letter."""
    number = verdicts.total()
    if number == 0:
        return " "
    worst = max(("refused", "failed"), key=lambda verdict: verdicts[verdict])
    if verdicts[worst] == 0:
        return "+"
    return worst[0].upper() if verdicts[worst] / number >= _FEW else worst[0]


def _open_row(turns: Sequence[Turn], began: float, width: float) -> str:
    """Where a breaker did not let every call in; a column in which it was so for any time counts."""
    row = [" "] * _COLUMNS
    since: float | None = None
    for turn in (*turns, Turn(began + width * _COLUMNS, "", "", "end")):
        if since is not None:
            first, last = (min(max(int((at - began) / width), 0), _COLUMNS - 1) for at in (since, turn.at))
            row[first : last + 1] = "=" * (last + 1 - first)
        since = turn.at if turn.state in {"open", "half_open", "isolated"} else None
    return "".join(row)


def _turns(found: Backtest) -> Iterator[str]:
    for side, turns in ("opened then", found.turns_before), ("would open", found.turns_after):
        opened = [turn for turn in turns if turn.state == "open"]
        for breaker in sorted({turn.breaker for turn in opened}):
            yield f"{side}: {breaker} at {_few(moment(turn.at)[11:] for turn in opened if turn.breaker == breaker)}"
        if not opened:
            yield f"{side}: no breaker"


def _doubts(found: Backtest) -> Iterator[str]:
    """What the figures rest on."""
    made = found.comparison.after.attempts
    yield ""
    if found.guesses:
        share = 100 * found.guesses / made
        yield f"of {counted(made, 'attempt')}, {share:.1f} % are guesses: drawn from those recorded near them in time"
    else:
        yield f"of {counted(made, 'attempt')}, none is a guess: each met its own recorded outcome"
    if found.cut:
        yield f"{counted(found.cut, 'attempt')} would have gone on for longer than was recorded, and were cut off there"
    for note in found.notes:
        yield f"note: {note}"


def _end(found: Backtest) -> float:
    return max(call.at + call.took for call in found.calls)
