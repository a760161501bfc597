"""`export`, `check`, `purge`: what is done about a journal as a whole."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import msgspec

from .._core.saga.plan import differences
from ..saga import Journal
from ..saga._blueprint import Blueprint
from ..saga._wording import plain
from ._app import App
from ._output import Output
from ._story import CURRENT, Story, content, stories, story_of
from ._words import counted, iso, moment


def export(journal: Journal, ids: Iterable[str], output: Output) -> int:
    """Write all records and letters of some sagas, or of all, as JSON lines.

    Returns:
        The exit code.
    """
    chosen = [story_of(journal, id_) for id_ in ids]
    for story in chosen or stories(journal, journal.list().wait()):
        one = story.summary
        about = {"id": one.id, "saga": one.saga, "status": one.status}
        for row in story.rows:
            output.record(about | {"at": iso(row.at), "record": content(row)})
        for sent in story.letters:
            letter = {"row": sent.row, "topic": sent.topic, "who": sent.who, "value": _value(sent.value)}
            output.record(about | {"at": iso(sent.at), "letter": letter})
    return 0


def check(journal: Journal, app: App, output: Output) -> int:
    """Look whether the journal is whole, nothing is stuck, and the application's classes fit the sagas that are open.

    Returns:
        The exit code: 1 if there is a problem.
    """
    damage = journal.check().wait()
    current = journal.list(status=CURRENT).wait()
    problems = [(None, text) for text in damage] + [
        (story.summary.id, text) for story in stories(journal, current) for text in _problems(story, app)
    ]
    uncompared = Counter(one.saga for one in current if one.saga not in app.classes)
    if output.as_json:
        found = [{"id": id_, "problem": text} for id_, text in problems]
        output.document({"sagas": len(current), "uncompared": uncompared, "problems": found})
        return 1 if problems else 0
    for id_, text in problems:
        output.line(plain(f"{id_ or journal.name}: {text}"))
    for saga, number in uncompared.items() if app.name is None else ():
        output.line(plain(f"{saga}: {counted(number, 'saga')} compared with no code; give --app MODULE"))
    compared = f", compared with {app.name}" if app.name else ""
    output.line(f"{counted(len(current), 'saga')} open or stuck{compared}; {counted(len(problems), 'problem')}")
    return 1 if problems else 0


def purge(journal: Journal, output: Output, now: float, *, older: float, status: Collection[str], really: bool) -> int:
    """Forget sagas that ended long ago; or, unless `really`, tell how many those are.

    Args:
        journal: Where they are kept.
        output: Where to tell it.
        now: The time.
        older: Seconds since they ended.
        status: How they ended; none: in any way.
        really: Whether they are forgotten.

    Returns:
        The exit code.
    """
    before = now - older
    if really:
        number = journal.purge(before=before, statuses=tuple(status)).wait()
    else:
        found = journal.list(status=tuple(status) or None).wait()
        number = sum(1 for one in found if one.ended is not None and one.ended < before)
    if output.as_json:
        output.document({"before": iso(before), "sagas": number, "purged": really})
    elif really:
        output.line(f"forgotten: {counted(number, 'saga')} that ended before {moment(before)} UTC")
    else:
        output.line(f"{counted(number, 'saga')} ended before {moment(before)} UTC; --yes forgets them for good")
    return 0


def _problems(story: Story, app: App) -> Iterator[str]:
    if any(record is None for _, record in story.records):
        yield "a record of it cannot be read"
        return
    blueprint = app.blueprint(story.summary.saga)
    for one in story.parked().values():
        if one.reason != "definition-changed" or blueprint is None:  # that goes by itself where the class fits again
            yield f"stuck: {one.step or 'all of it'} waits for an operator ({one.reason})"
    if blueprint is not None:
        yield from _misfits(story, blueprint)
    elif app.name is not None:
        yield f"--app {app.name} has no saga called {story.summary.saga!r}"


def _misfits(story: Story, blueprint: Blueprint) -> Iterator[str]:
    """How the class differs from what has run, and which values it cannot read any more."""
    progress = story.under(blueprint.plan)
    yield from differences(story.start.shape, blueprint.plan, progress.results)
    values = {name: bytes(result.value) for name, result in progress.results.items() if result.outcome == "ok"}
    codecs = {name: blueprint.codecs[name] for name in values if name in blueprint.codecs}
    for name, codec in {"the input": blueprint.input, **codecs}.items():
        try:
            codec.decode(values.get(name, bytes(story.start.input)))
        except ValueError as error:
            yield f"{name if name == 'the input' else f'the result of {name!r}'} cannot be read any more: {error}"


def _value(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except ValueError:
        return {"unreadable": value.decode(errors="backslashreplace")}
