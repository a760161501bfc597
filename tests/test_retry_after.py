"""The wish to be left alone is read from anything, bounded, and never raises."""

import email.message
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import aiohttp
import httpx
import httpx2
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from urllib3 import HTTPHeaderDict

from resilience._core.retry_after import LONGEST, retry_after_of
from resilience.errors import RateLimited, Rejected

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WALL_NOW = NOW.timestamp()

CASE_INSENSITIVE = {
    "httpx": httpx.Headers,
    "httpx2": httpx2.Headers,
    "requests": requests.structures.CaseInsensitiveDict,
    "aiohttp": CIMultiDict,
    "urllib3": HTTPHeaderDict,
}
UNREADABLE = [
    *("", "soon", "nan", "inf", "1e3", "1_000", "\u0667", "0x10", "7 s", "1, 2", "--5", ".5", "Mon"),
    *(b"7", None, True, [7]),
]

moments = st.integers(86_400, 3_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is not UTC; a date without a zone is UTC there too."""
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of a process cannot be set here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ+7")
        time.tzset()
        yield
    time.tzset()


def asked(**attributes: Any) -> float | None:
    return retry_after_of(SimpleNamespace(**attributes), WALL_NOW)


def by_header(value: object, **others: object) -> float | None:
    return asked(headers={"Retry-After": value, **others})


def imf_fixdate(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@given(st.floats(0.0, LONGEST))
def test_the_attribute_is_seconds(seconds: float) -> None:
    assert asked(retry_after=seconds) == seconds


@given(st.integers(0, int(LONGEST)))
def test_the_attribute_may_be_whole_seconds(seconds: int) -> None:
    assert asked(retry_after=seconds) == seconds


@given(st.timedeltas(timedelta(0), timedelta(seconds=LONGEST)))
def test_the_attribute_may_be_a_timedelta(wait: timedelta) -> None:
    assert asked(retry_after=wait) == wait.total_seconds()


@pytest.mark.parametrize("wait", [-1, -0.0, -1e300, -(10**400), timedelta(days=-1)])
def test_a_negative_wait_is_none_at_all(wait: object) -> None:
    seconds = asked(retry_after=wait)
    assert seconds == 0.0
    assert math.copysign(1.0, seconds) == 1.0


@pytest.mark.parametrize("wait", [10**400, 1e300, timedelta.max])
def test_a_wait_beyond_all_sense_is_the_longest(wait: object) -> None:
    assert asked(retry_after=wait) == LONGEST


@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, "7", None, lambda: 7])
def test_what_is_no_number_of_seconds_is_no_wish_and_the_header_is_read(value: object) -> None:
    assert asked(retry_after=value) is None
    assert asked(retry_after=value, headers={"Retry-After": "3"}) == 3.0


def test_the_attribute_comes_before_the_header() -> None:
    assert asked(retry_after=2.5, headers={"Retry-After": "9"}) == 2.5


@given(st.integers(0, int(LONGEST)))
def test_the_header_is_seconds(seconds: int) -> None:
    assert by_header(str(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0.65", 0.65), (" 7 ", 7.0), ("-5", 0.0), ("007", 7.0), ("9" * 400, LONGEST), ("9" * 5_000, LONGEST), (7, 7.0)],
)
def test_the_header_is_read_with_good_will(value: object, seconds: float) -> None:
    assert by_header(value) == seconds


@pytest.mark.parametrize("value", UNREADABLE)
def test_what_cannot_be_read_is_no_wish(value: object) -> None:
    assert by_header(value) is None


@given(moments, st.integers(0, 10**6))
def test_a_date_counts_from_the_response_s_own_date(sent: datetime, seconds: int) -> None:
    then = imf_fixdate(sent + timedelta(seconds=seconds))
    assert by_header(then, Date=imf_fixdate(sent)) == seconds


@given(moments)
def test_a_date_counts_from_the_wall_clock_where_the_response_has_none(then: datetime) -> None:
    expected = max(0.0, then.timestamp() - WALL_NOW)
    assert by_header(imf_fixdate(then)) == expected
    assert by_header(imf_fixdate(then), Date="yesterday or so") == expected


@pytest.mark.parametrize(
    "then",
    [
        "Mon, 04 May 2026 12:01:30 GMT",
        "Monday, 04-May-26 12:01:30 GMT",  # RFC 850
        "Mon May  4 12:01:30 2026",  # asctime
        "Mon, 04 May 2026 12:01:30 -0000",
        format_datetime((NOW + timedelta(seconds=90)).astimezone(timezone(timedelta(hours=5.5)))),
    ],
)
def test_every_form_of_date_that_http_ever_had_is_read(then: str, elsewhere: None) -> None:
    assert by_header(then) == 90.0


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("mapping", [dict, *CASE_INSENSITIVE.values()], ids=["dict", *CASE_INSENSITIVE])
def test_case_does_not_matter_in_any_mapping(mapping: Callable[[dict[str, str]], object], name: str) -> None:
    sent, then = imf_fixdate(NOW), imf_fixdate(NOW + timedelta(seconds=40))
    assert asked(headers=mapping({"X-Other": "1", name: "7"})) == 7.0
    assert asked(headers=mapping({name: then, "dAtE": sent})) == 40.0
    assert asked(response=SimpleNamespace(headers=mapping({name: "7"}))) == 7.0


def test_a_message_and_a_proxy_are_mappings_too() -> None:
    message = email.message.Message()
    message["RETRY-after"] = "7"
    assert asked(headers=message) == 7.0
    assert asked(headers=CIMultiDictProxy(CIMultiDict({"retry-after": "7"}))) == 7.0


def test_names_that_are_no_text_are_passed_over() -> None:
    assert asked(headers={7: "x", b"Retry-After": b"9", "Retry-After": "7"}) == 7.0


def test_exceptions_of_the_clients_carry_their_response() -> None:
    answer = httpx2.Response(429, headers={"Retry-After": "7"}, request=httpx2.Request("GET", "http://test"))
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        answer.raise_for_status()
    assert retry_after_of(answer, WALL_NOW) == retry_after_of(caught.value, WALL_NOW) == 7.0
    aio = aiohttp.ClientResponseError(None, (), status=429, headers=CIMultiDict({"Retry-After": "7"}))  # type: ignore[arg-type]
    assert retry_after_of(aio, WALL_NOW) == 7.0


def test_our_own_refusals_say_when() -> None:
    assert retry_after_of(RateLimited("api", 1.5), WALL_NOW) == 1.5
    assert retry_after_of(Rejected("api"), WALL_NOW) is None


def test_a_group_asks_for_the_longest_wait_of_its_leaves() -> None:
    group = ExceptionGroup("two", [RateLimited("a", 1.0), ExceptionGroup("more", [RateLimited("b", 4.0), OSError()])])
    assert retry_after_of(group, WALL_NOW) == 4.0
    assert retry_after_of(ExceptionGroup("none", [OSError()]), WALL_NOW) is None


class Hostile:
    """Raises wherever it is touched; only its class may be asked for, which the test tools do."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Hostile
        raise RuntimeError(name)


class Untouchable:
    """Raises even where `isinstance` looks."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class HostileHeaders:
    def items(self) -> Iterator[tuple[str, str]]:
        yield "Date", "now"
        raise RuntimeError


class HostileText(str):
    __slots__ = ()

    def strip(self, *_: object) -> str:
        raise RuntimeError


NOT_HEADERS: dict[str, object] = {
    "nothing": None,
    "a number": 7,
    "text": "Retry-After: 7",
    "a list": [("Retry-After", "7")],
    "items that are no method": SimpleNamespace(items=7),
    "items that are not iterable": SimpleNamespace(items=lambda: 7),
    "items that are no pairs": SimpleNamespace(items=lambda: [1, 2]),
    "items that raise": HostileHeaders(),
    "names of bytes": {b"Retry-After": b"7"},
    "a value that raises": {"Retry-After": HostileText("7")},
}


@pytest.mark.parametrize("headers", NOT_HEADERS.values(), ids=NOT_HEADERS)
def test_headers_that_are_none_are_no_wish(headers: object) -> None:
    assert asked(headers=headers) is None
    assert asked(response=SimpleNamespace(headers=headers)) is None


@pytest.mark.parametrize("hostile", [Hostile, Untouchable])
def test_a_hostile_outcome_is_no_wish(hostile: type) -> None:
    assert retry_after_of(hostile(), WALL_NOW) is None
    assert asked(headers=hostile()) is None
    assert asked(response=hostile()) is None
    assert asked(retry_after=hostile(), headers=hostile(), response=hostile()) is None


def test_a_property_that_raises_does_not_hide_the_header() -> None:
    class BusyError(Exception):
        headers: ClassVar = {"Retry-After": "7"}

        @property
        def retry_after(self) -> float:
            raise LookupError

    assert retry_after_of(BusyError(), WALL_NOW) == 7.0


anything = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.timedeltas(), st.datetimes()),
    moments.map(imf_fixdate),
    st.builds(Hostile),
)
header_names = st.sampled_from(["Retry-After", "retry-after", "Date", "date", "X-Other"])
texts = st.text() | st.from_regex(r"\A\w{3}, \d+ (May|Feb) -?\d+ \d+:\d+:\d+ ?([+-]\d+)?\Z") | anything


@given(
    st.builds(SimpleNamespace, retry_after=anything, headers=st.dictionaries(header_names, texts) | anything)
    | st.builds(SimpleNamespace, response=st.builds(SimpleNamespace, headers=st.dictionaries(header_names, texts)))
    | anything,
    st.floats(),
)
def test_the_answer_is_none_or_a_wait_within_bounds(outcome: object, wall_now: float) -> None:
    wait = retry_after_of(outcome, wall_now)
    assert wait is None or (type(wait) is float and 0.0 <= wait <= LONGEST)
