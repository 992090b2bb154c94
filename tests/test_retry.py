"""The pure decisions: whether to retry, when, and how many retries the account may spend."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    DecodeError,
    ForeignReply,
    NotSent,
    ReplyError,
    ReplyLost,
    ServerError,
    Throttled,
)
from aioagents.model import Purpose, Request, Upload
from aioagents.retry import (
    LONGEST_RETRY_AFTER,
    RetryBudget,
    RetryPolicy,
    is_outcome_unknown,
    may_repeat,
    read_retry_after,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
POLL = Request(method="GET", url="https://x.example/a", call="poll", purpose=Purpose.POLL)
START = Request(method="POST", url="https://x.example/b", call="start", purpose=Purpose.START)
SOFT_START = Request(
    method="POST", url="https://x.example/b", call="start", purpose=Purpose.START, refused_by=frozenset({503})
)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_only_starts_are_not_repeatable(purpose: Purpose) -> None:
    """Everything but a start may be sent twice."""
    request = Request(method="POST", url="https://x.example", call="c", purpose=purpose)
    assert request.is_repeatable is (purpose is not Purpose.START)


@pytest.mark.parametrize(
    ("error", "polls", "starts", "unknown"),
    [
        (NotSent(), True, True, False),
        (ReplyLost(), True, False, True),
        (Throttled(status=429), True, True, False),
        (ServerError(status=500), True, False, True),
        (ServerError(status=502), True, False, True),
        (ServerError(status=503), True, False, True),
        (ServerError(status=504), True, False, True),
        (DecodeError(), False, False, True),
        (AuthenticationError(status=401), False, False, False),
        (BadRequest(status=400), False, False, False),
        (DecodeError(is_foreign=True), True, False, True),
        (ServerError(status=503, is_foreign=True), True, False, True),
        (AuthenticationError(status=401, is_passing=True, is_foreign=True), False, False, False),
        (ReplyError(status=408, is_passing=True), True, False, True),
        (ReplyError(status=421, is_passing=True), True, True, False),
        (ReplyError(status=425, is_passing=True), True, True, False),
        *((ForeignReply(status=status), True, True, False) for status in (301, 302, 307, 308, 400, 403, 404)),
        *((ForeignReply(status=status), True, False, True) for status in (101, 303, 304, 408)),
        (ReplyError(status=301), False, False, False),
        (ReplyError(status=302), False, False, False),
        (ReplyError(status=307), False, False, False),
        (ReplyError(status=308), False, False, False),
        (ReplyError(status=303), False, False, True),
        (ReplyError(status=304), False, False, True),
        (ReplyError(), False, False, False),
        (AgentsError(), False, False, False),
    ],
)
def test_what_may_be_repeated(error: AgentsError, polls: bool, starts: bool, unknown: bool) -> None:
    """A start is repeated only where it began nothing for certain, and unknown only where it may have begun."""
    assert may_repeat(POLL, error) is polls
    assert may_repeat(START, error) is starts
    assert is_outcome_unknown(START, error) is unknown
    assert is_outcome_unknown(POLL, error) is False


def test_refusing_statuses_are_the_vendors() -> None:
    """A 503 that says, for this vendor, that nothing was executed may be repeated; a 502, or a gateway's 503, not."""
    assert may_repeat(SOFT_START, ServerError(status=503))
    assert not may_repeat(SOFT_START, ServerError(status=503, is_foreign=True))
    assert is_outcome_unknown(SOFT_START, ServerError(status=503, is_foreign=True))
    assert not is_outcome_unknown(SOFT_START, ServerError(status=503))
    assert not may_repeat(SOFT_START, ServerError(status=502))
    assert is_outcome_unknown(SOFT_START, ServerError(status=502))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_drawn_below_a_doubling_bound(failures: int, chance: float) -> None:
    """The wait is between nothing and the doubled first wait, never above the cap."""
    policy = RetryPolicy(first=0.5, cap=30.0)
    wait = policy.backoff(failures, chance=chance)
    assert 0 <= wait <= 30.0
    assert wait <= 0.5 * 2.0 ** min(failures - 1, 60)


def test_attempts_bound_the_tries() -> None:
    """After so many failures there is no further attempt."""
    policy = RetryPolicy(attempts=3)
    assert policy.delay(POLL, NotSent(), failures=2, chance=0.5) is not None
    assert policy.delay(POLL, NotSent(), failures=3, chance=0.5) is None


def test_retry_after_beats_the_backoff() -> None:
    """`Retry-After` is waited in full, and a little more, so that not all come at once."""
    policy = RetryPolicy(first=0.5)
    error = Throttled(status=429, retry_after=10.0)
    assert policy.delay(POLL, error, failures=1, chance=0.0) == 10.0
    late = policy.delay(POLL, error, failures=4, chance=0.999)
    assert late is not None
    assert 10.0 < late <= 11.0


@pytest.mark.parametrize("after", [0.0, 0.001])
def test_retry_after_of_now_keeps_the_backoff(after: float) -> None:
    """A server that asks for no wait, or for one until now, gets the same pauses as one that asks for nothing."""
    policy = RetryPolicy(first=0.5)
    for failures in range(1, 5):
        wait = policy.delay(POLL, Throttled(retry_after=after), failures=failures, chance=0.5)
        assert wait == policy.backoff(failures, chance=0.5)


def test_pages_are_bounded_by_time() -> None:
    """A call of an account that is known is repeated after pages for `tolerance` seconds, however often it failed."""
    policy = RetryPolicy(attempts=2, tolerance=60.0, cap=8.0)
    page, other = ForeignReply(status=404, is_passing=True), ServerError(status=502)
    for passed, wait in ((0.0, 4.0), (55.9, 4.0), (56.0, None), (70.0, None)):
        assert policy.delay(POLL, page, failures=9, chance=0.5, elapsed=passed) == wait
    assert policy.delay(POLL, page, failures=9, chance=0.5) is None
    assert policy.delay(POLL, other, failures=2, chance=0.5, elapsed=0.0) is None
    unknown = ForeignReply(status=404)
    assert policy.delay(POLL, unknown, failures=1, chance=0.5, elapsed=0.0) is not None
    assert policy.delay(POLL, unknown, failures=2, chance=0.5, elapsed=0.0) is None


def test_retry_after_beyond_patience_ends_the_call() -> None:
    """A server whose `Retry-After` is beyond the patience gets no further attempt."""
    policy = RetryPolicy(patience=60.0)
    assert policy.delay(POLL, Throttled(status=429, retry_after=61.0), failures=1, chance=0.0) is None
    assert policy.delay(POLL, Throttled(status=429, retry_after=math.inf), failures=1, chance=0.0) is None


def test_a_retry_that_cannot_finish_is_not_begun() -> None:
    """A wait that would outlast the caller's deadline is not begun."""
    policy = RetryPolicy(first=2.0)
    assert policy.delay(POLL, NotSent(), failures=1, chance=0.5, left=1.0) is None
    assert policy.delay(POLL, NotSent(), failures=1, chance=0.5, left=1.1) == 1.0
    assert policy.delay(POLL, NotSent(), failures=1, chance=0.0, left=-math.inf) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"first": 0},
        {"cap": -1},
        {"patience": -1},
        {"tolerance": -1},
        {"reserve": -1},
        {"share": math.nan},
    ],
)
def test_policy_refuses_nonsense(wrong: dict[str, float]) -> None:
    """A policy that could never work is refused when it is made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_budget_is_spent_refilled_and_earned() -> None:
    """The reserve comes back within a minute, calls earn a share, and both are bounded."""
    budget = RetryBudget(RetryPolicy(reserve=3.0, share=0.5))
    assert [budget.spend(0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend(20.0)
    assert not budget.spend(20.0)
    budget.earn()
    budget.earn()
    assert budget.spend(20.0)
    for _ in range(100):
        budget.earn()
    assert budget.balance == 6.0
    assert [budget.spend(1000.0) for _ in range(7)] == [True] * 6 + [False]
    assert [budget.spend(1e6) for _ in range(4)] == [True] * 3 + [False]


def test_budget_without_a_reserve_is_earned() -> None:
    """Without a reserve, calls still earn retries, as many as one call may use."""
    budget = RetryBudget(RetryPolicy(attempts=3, reserve=0, share=0.5))
    assert not budget.spend(0.0)
    for _ in range(100):
        budget.earn()
    assert [budget.spend(0.0) for _ in range(4)] == [True, True, True, False]
    assert not budget.spend(1e6)
    budget.earn()
    budget.earn()
    assert [budget.spend(1e6) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("soon", None),
        ("\u0667", None),
        ("1_0", None),
        ("1e3", None),
        ("2, 2", None),
        ("0x10", None),
        ("+7", None),
        ("9999999999", LONGEST_RETRY_AFTER),
        (str(int(NOW.timestamp()) + 20), 20.0),
        (str(int(NOW.timestamp()) - 20), 0.0),
        (f"{int(NOW.timestamp()) + 20}000", 20.0),
        ("5000", 5000.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Mon, 05 Jan 2026 09:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 08:00:30 GMT", 0.0),
        ("Monday, 05-Jan-26 09:00:30 GMT", 30.0),
        ("Mon Jan  5 09:00:30 2026", 30.0),
        ("Mon, 05 Jan 2026 10:00:30 +0100", 30.0),
        ("Mon, 05 Jan 99999999999999999999 09:00:30 GMT", None),
        ("Mon, 05 Jan 2026 09:00:30 +99999999999999999999", None),
        ("Mon, 99 Jan 2026 09:00:30 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(text: str | None, seconds: float | None) -> None:
    """Seconds and HTTP dates are read; what is neither counts as absent."""
    assert read_retry_after(text, utcnow=NOW) == seconds


def _sane(seconds: float | None) -> bool:
    return seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


@given(st.text() | st.from_regex(r"\A\d{1,30}(\.\d{1,20})?\Z") | st.text("0123456789.,:+- eE_GMTJan"))
def test_retry_after_never_breaks(text: str) -> None:
    """Whatever a server sends there, reading it neither raises nor returns a number out of bounds."""
    assert _sane(read_retry_after(text, utcnow=NOW))


@given(
    st.from_regex(
        r"\A([A-Z][a-z]{2,5}, )?\d{1,25}[ -][A-Z][a-z]{2}[ -]\d{1,25} \d{1,3}:\d{1,25}(:\d{1,3})?"
        r"( [+-]?\d{1,25}| GMT| EST)?\Z"
    )
)
def test_retry_after_never_breaks_on_dates(text: str) -> None:
    """Nor does anything that is like a date."""
    assert _sane(read_retry_after(text, utcnow=NOW))


@given(st.integers(-(10**6), 10**6))
def test_retry_after_reads_every_date(seconds: int) -> None:
    """A date is read as the seconds until it, none for a date that has passed."""
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert read_retry_after(text, utcnow=NOW) == max(seconds, 0)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


def test_what_can_be_read_once_is_repeated_only_unsent() -> None:
    """A body that cannot be read twice is sent again only where none of it was read, even if that were safe."""
    once = attrs.evolve(POLL, upload=Upload(open=_nothing, is_once=True))
    again = attrs.evolve(POLL, upload=Upload(open=_nothing))
    for error in (ReplyLost("x"), Throttled("x"), ServerError(status=503)):
        assert may_repeat(again, error)
        assert not may_repeat(once, error)
        for is_safe in (False, True):
            assert RetryPolicy().delay(once, error, failures=1, chance=0.5, is_safe=is_safe) is None
    assert may_repeat(once, NotSent("x"))
    assert not may_repeat(once, BadRequest("x"))
