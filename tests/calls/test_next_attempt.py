"""Starts that the vendor treats as one when they are repeated: attempted again under a new request."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.calls import PendingStart, Start
from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    Conflict,
    NotSent,
    PoolClosed,
    ReplyLost,
    StartUnknown,
)
from aioagents.model import Reply, Request
from aioagents.observe import RetryScheduled, StartAbandoned
from aioagents.retry import RetryPolicy
from aioagents.transport import PoolLimits, RateLimit
from tests.calls.rig import OK, START, Attempt, Held, Rig, Step, read_text
from tests.fakes import EPOCH, settle

LOST = ReplyLost("cut")
REFUSING = attrs.evolve(START, refused_by=frozenset({503}))


class Signer:
    """Builds the request of the next attempt, numbered, for so many attempts."""

    def __init__(self, most: int = 100) -> None:
        self.left = most
        self.made = 0

    def __call__(self) -> Request | None:
        """Return the next one."""
        if self.left == 0:
            return None
        self.left -= 1
        self.made += 1
        return attrs.evolve(REFUSING, headers={"number": str(self.made)})


def repeated(rig: Rig, renew: Callable[[], Request | None] | None, **changes: Any) -> Awaitable[str]:
    """Make a start that can be attempted again; its first request has no number."""
    start: Start[str] = Start(
        vendor="leena",
        request=REFUSING,
        read=read_text,
        target="triage",
        advice="Check there.",
        next_attempt=renew,
    )
    return rig.caller.start(rig.account, attrs.evolve(start, **changes))


async def ending(rig: Rig, renew: Callable[[], Request | None], **changes: Any) -> str | Exception:
    """Make the start, let time pass, and return the result or what was raised."""

    async def start() -> str:
        return await repeated(rig, renew, **changes)

    return await rig.ends(start())


def numbers(rig: Rig) -> list[str]:
    """Return the numbers of the requests that were attempted."""
    return [attempt.request.headers.get("number", "0") for attempt in rig.send.attempts]


async def _never() -> str:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await found


class _Nothing:
    """Finds nothing, or what `found` says, after a fault."""

    def __init__(self, found: str | None = None) -> None:
        self.found = found
        self.was_sent: list[bool] = []

    async def find_start(self, pending: PendingStart[str], error: AgentsError) -> str | None:
        self.was_sent.append(pending.is_sent)
        return self.found


# ── what is repeated, and what is not ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step", [LOST, Reply(502), Reply(504), NotSent("refused"), Reply(429), Reply(503)], ids=repr
)
async def test_next_attempt_is_a_new_request(step: Step) -> None:
    """After a lost reply, as after a refusal, the next attempt is a new request."""
    async with Rig(step, step, OK) as rig:
        assert await ending(rig, Signer()) == "ok"
        assert numbers(rig) == ["0", "1", "2"]
        assert len(rig.emitted(RetryScheduled)) == 2
        assert rig.caller.starts == 1
        rig.assert_idle()


@pytest.mark.parametrize("step", [Reply(500), Reply(501), Reply(200), Reply(303)], ids=repr)
async def test_replies_that_leave_the_outcome_unknown_are_final(step: Step) -> None:
    """A reply that arrived, and does not say what began, is followed by no other attempt."""
    async with Rig(step, OK) as rig:
        assert isinstance(await ending(rig, Signer()), StartUnknown)
        assert numbers(rig) == ["0"]


@pytest.mark.parametrize("step", [Reply(400), Reply(403), Reply(404), Reply(409)], ids=repr)
async def test_refusals_are_not_repeated(step: Step) -> None:
    """A final refusal is raised at once."""
    async with Rig(step, OK) as rig:
        ended = await ending(rig, Signer())
        assert isinstance(ended, AgentsError)
        assert not isinstance(ended, StartUnknown)
        assert numbers(rig) == ["0"]


async def test_without_next_attempt_a_lost_reply_is_final() -> None:
    """Without `next_attempt`, a start is sent once, even if the vendor would treat a second one as the same."""
    async with Rig(LOST, OK) as rig:
        assert isinstance(await rig.ends(rig.start()), StartUnknown)
        assert rig.send.times == 1


async def test_signed_at_the_moment_of_sending() -> None:
    """The request is signed once it has a permit, at each attempt."""
    moments: list[float] = []
    async with Rig(Reply(429), OK, limits=PoolLimits(requests_per_second=RateLimit(1, 50.0))) as rig:

        def sign(request: Request) -> Request:
            moments.append(rig.clock.now())
            return attrs.evolve(request, headers={"number": f"{len(moments)}"})

        first = await rig.begin(_start(rig, sign=sign))
        second = await rig.begin(_start(rig, sign=sign))
        await rig.clock.advance(5000.0)
        assert (first.result(), second.result()) == ("ok", "ok")
        assert numbers(rig) == ["1", "2", "3"]
        assert moments == sorted(moments)
        assert moments[1] - moments[0] >= 50.0


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([LOST], StartUnknown),
        ([LOST, Reply(429)], StartUnknown),
        ([Reply(429)], AgentsError),
        ([NotSent("refused")], NotSent),
    ],
)
async def test_too_late_for_another_attempt(steps: list[Step], error: type[AgentsError]) -> None:
    """Where it is too late for another attempt, the last error is raised; unknown if any reply was lost."""
    async with Rig(*steps, OK) as rig:
        ended = await ending(rig, Signer(most=len(steps) - 1))
        assert isinstance(ended, error)
        assert isinstance(ended, StartUnknown) is (error is StartUnknown)
        assert rig.send.times == len(steps)
        rig.assert_idle()


# ── after a lost attempt ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (Reply(400), BadRequest),
        (Reply(401), AuthenticationError),
        (Reply(409), Conflict),
        (Reply(500), AgentsError),
        (Reply(200), AgentsError),
        (Reply(503), AgentsError),
        (Reply(429), AgentsError),
        (NotSent("refused"), NotSent),
        (LOST, ReplyLost),
    ],
    ids=repr,
)
async def test_refusal_after_a_lost_attempt(step: Step, cause: type[AgentsError], is_signed: bool) -> None:
    """Although a later attempt is refused, a lost one may have begun something, which stays unknown."""
    async with Rig(LOST, step, is_signed=is_signed) as rig:
        search = _Nothing()
        ended = await ending(rig, Signer(), find_start=search.find_start)
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, cause)
        assert ended.sent_at == EPOCH  # of the attempt that may have begun something
        assert search.was_sent == [True]
        assert rig.send.times > 1
        rig.assert_idle()


async def test_refusal_after_a_lost_attempt_may_be_explained() -> None:
    """A search that finds what the lost attempt began turns a later refusal into a result."""
    async with Rig(LOST, Reply(409)) as rig:
        assert await ending(rig, Signer(), find_start=_Nothing("found").find_start) == "found"
        assert rig.caller.starts == 1


async def test_new_token_after_a_lost_attempt() -> None:
    """An attempt that is refused for its token is sent again with a new one, also after a lost attempt."""
    async with Rig(LOST, Reply(401), OK) as rig:
        assert await ending(rig, Signer()) == "ok"
        assert numbers(rig) == ["0", "1", "1"]


async def test_lost_again_and_again() -> None:
    """A start whose every reply is lost is attempted as often as the policy says, then unknown."""
    async with Rig(LOST, retry=RetryPolicy(attempts=4)) as rig:
        ended = await ending(rig, Signer())
        assert isinstance(ended, StartUnknown)
        assert numbers(rig) == ["0", "1", "2", "3"]
        assert isinstance(ended.__cause__, ReplyLost)
        assert ended.__cause__.tries == 4


async def test_repeated_attempts_spend_the_budget() -> None:
    """Further attempts spend the account's retry budget, and there are none when it is empty."""
    async with Rig(LOST, retry=RetryPolicy(attempts=50, reserve=2, share=0.0)) as rig:
        task = await rig.begin(_start(rig))
        await rig.clock.advance(10.0)
        assert task.done()
        assert numbers(rig) == ["0", "1", "2"]
        assert isinstance(task.exception(), StartUnknown)


def _start(rig: Rig, **changes: Any) -> Any:
    async def start() -> str:
        return await repeated(rig, Signer(), **changes)

    return start()


@pytest.mark.parametrize("status", [429, 502, 504])
async def test_retry_after_is_waited_out(status: int) -> None:
    """The server's `Retry-After` is waited in full before the next request is sent."""
    async with Rig(Reply(status, {"retry-after": "60"}), OK) as rig:
        task = await rig.begin(_start(rig))
        await rig.clock.advance(59.0)
        assert rig.send.times == 1
        await rig.clock.advance(10.0)
        assert task.result() == "ok"


async def test_retry_after_beyond_patience() -> None:
    """A `Retry-After` beyond the policy's patience is not waited."""
    async with Rig(Reply(504, {"retry-after": "1000"}), OK) as rig:
        assert isinstance(await ending(rig, Signer()), StartUnknown)
        assert rig.send.times == 1


# ── the caller, or the pool, goes away ──────────────────────────────────────────────────────────────────


async def _lost_with_a_wait(attempt: Attempt) -> Reply:
    attempt.note_sent()
    raise ReplyLost("cut", call=attempt.request.call, retry_after=30.0)


@pytest.mark.parametrize("found", [None, "found"])
async def test_cancelled_after_a_lost_attempt(found: str | None) -> None:
    """When the caller is cancelled after a lost attempt, no other is made, and the outcome is emitted."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig, find_start=_Nothing(found).find_start))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.clock.advance(1000)
        assert rig.send.times == 1
        (event,) = rig.emitted(StartAbandoned)
        assert isinstance(event.error, StartUnknown) is (found is None)
        rig.assert_idle()


@pytest.mark.parametrize("found", [None, "found"])
async def test_drained_after_a_lost_attempt(found: str | None) -> None:
    """While the pool drains, nothing is sent again; the start ends as what is known of its earlier attempt."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig, find_start=_Nothing(found).find_start))
        draining = await rig.begin(rig.caller.drain(60.0))
        await rig.clock.advance(1000)
        assert draining.done()
        assert rig.send.times == 1
        ended = (await asyncio.gather(task, return_exceptions=True))[0]
        assert ended == found or (found is None and isinstance(ended, StartUnknown))


async def test_pool_closed_after_a_lost_attempt() -> None:
    """A start that waits for its next attempt after a lost one is unknown when the pool is closed."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig))
        await rig.supervisor.aclose()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], StartUnknown)
        rig.assert_idle()


async def test_cancelled_while_the_next_attempt_connects() -> None:
    """A start whose caller is cancelled during its second attempt goes on: what is lost may still become known."""
    connecting = Held(is_connecting=True)
    async with Rig(LOST, connecting) as rig:
        task = await rig.begin(_start(rig))
        await rig.clock.advance(10.0)
        assert rig.send.times == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not connecting.reply.done()
        connecting.reply.set_result(OK)
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert event.error is None


# ── any interleaving ────────────────────────────────────────────────────────────────────────────────────

_PHASES = 7
_REFUSED = ("not sent", "429", "503", "400", "409")
_HIDDEN = ("lost", "502", "500", "unreadable")


@frozen(kw_only=True)
class _Plan:
    """What happens in each of the numbered phases; what was due in a phase that has passed happens at once."""

    #: For each attempt: its outcome, the phase in which it is sent, and how many phases later it is answered.
    tries: list[tuple[str, int, int]]
    renewals: list[bool] | None
    is_searched: bool
    is_found_early: bool
    found_early: str
    found_early_at: int
    found: str | None
    found_at: int
    cancelled_at: int | None
    closed_at: int | None
    #: For each phase: whether the order is reversed, loop steps in between, and the time that passes.
    disorder: list[tuple[bool, int, float]]


_phase = st.integers(0, _PHASES - 1)
_plans = st.builds(
    _Plan,
    tries=st.lists(
        st.tuples(st.sampled_from([*_REFUSED, *_HIDDEN, "ok"]), _phase, st.integers(-1, 2)),
        min_size=3,
        max_size=3,
    ),
    renewals=st.none() | st.lists(st.sampled_from([True, True, True, False]), min_size=3, max_size=3),
    is_searched=st.booleans(),
    is_found_early=st.booleans(),
    found_early=st.sampled_from(["never", "found early", "gives up"]),
    found_early_at=_phase,
    found=st.sampled_from([None, "found"]),
    found_at=_phase,
    cancelled_at=st.none() | _phase,
    closed_at=st.none() | _phase,
    disorder=st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.sampled_from([0.0, 0.3, 40.0])),
        min_size=_PHASES,
        max_size=_PHASES,
    ),
)


class _Story:
    """One start at a vendor that follows a plan, in phases."""

    def __init__(self, rig: Rig, plan: _Plan) -> None:
        self.rig = rig
        self.plan = plan
        loop = asyncio.get_running_loop()
        self.phases: list[asyncio.Future[None]] = [loop.create_future() for _ in range(_PHASES)]
        self.now = 0
        #: Each request that was sent, and its outcome.
        self.sent: list[tuple[Request, str]] = []
        self.renewals: list[Request] = []

    async def until(self, phase: int) -> None:
        """Wait for a phase, unless it has passed."""
        if self.now <= phase < _PHASES:
            await asyncio.shield(self.phases[phase])

    async def vendor(self, attempt: Attempt) -> Reply:
        """Answer one attempt as planned."""
        outcome, sent_at, later = self.plan.tries[self.rig.send.times - 1]
        await self.until(sent_at)
        if outcome == "not sent":
            raise NotSent("refused", call=attempt.request.call)
        attempt.note_sent()
        self.sent.append((attempt.request, "dropped"))  # until it is answered
        await self.until(self.now + later)
        self.sent[-1] = (attempt.request, outcome)
        if outcome == "lost":
            raise ReplyLost("cut", call=attempt.request.call)
        bodies = {"ok": b"ok", "unreadable": b""}
        return Reply(200 if outcome in bodies else int(outcome), {}, bodies.get(outcome, b"{}"))

    def next_attempt(self) -> Request | None:
        """Return the next request, or None when it is too late."""
        assert self.plan.renewals is not None
        if not self.plan.renewals[len(self.renewals)]:
            return None
        self.renewals.append(attrs.evolve(REFUSING, headers={"number": str(len(self.renewals) + 1)}))
        return self.renewals[-1]

    async def find_early(self, pending: PendingStart[str]) -> str:
        """Find what the plan says, if it can be this start's."""
        await self.until(self.plan.found_early_at)
        if self.plan.found_early == "never" or not pending.is_sent:
            return await _never()
        if self.plan.found_early == "gives up":
            raise ReplyLost("enough")
        return "found early"

    async def confirm(self, result: str) -> str:
        """Return the result, after a planned wait."""
        await self.until(self.plan.found_at)
        return result

    async def find_start(self, pending: PendingStart[str], error: AgentsError) -> str | None:
        """Return what the plan says, after a planned wait."""
        await self.until(self.plan.found_at)
        return self.plan.found if pending.is_sent else None

    async def start(self) -> str:
        """Make the start."""
        renew = self.next_attempt if self.plan.renewals is not None else None
        search: dict[str, Any] = {"find_start": self.find_start} if self.plan.is_searched else {}
        if self.plan.is_found_early:
            search |= {"find_early": self.find_early, "confirm": self.confirm}
        return await repeated(self.rig, renew, **search)

    async def close(self) -> None:
        """Close the pool as pools do."""
        await self.rig.caller.drain(0.0)
        await self.rig.supervisor.aclose()

    async def run_phase(self, *acts: Callable[[], object]) -> None:
        """Set off all that waits for the present phase, and call `acts` at about the same time."""
        is_reversed, ticks, seconds = self.plan.disorder[self.now]
        phases = self.phases[self.now]
        self.now += 1
        steps: list[Callable[[], object]] = [lambda: phases.set_result(None), *acts]
        for step in reversed(steps) if is_reversed else steps:
            step()
            for _ in range(ticks if acts else 0):
                await asyncio.sleep(0)
        await self.rig.clock.advance(seconds)

    def may_have_begun(self) -> bool:
        """Return whether any attempt was sent that was not refused for certain."""
        return any(outcome not in _REFUSED for _, outcome in self.sent)

    def check_sendings(self) -> None:
        """Assert that nothing was sent twice except what was refused, or was repeated by `next_attempt`."""
        for (_, outcome), (second, _) in itertools.pairwise(self.sent):
            assert outcome in _REFUSED or (outcome in {"lost", "502"} and second in self.renewals)
        if self.plan.renewals is not None:
            requests = [id(request) for request, _ in self.sent]
            assert len(requests) == len(set(requests))


@settings(max_examples=60, deadline=None)
@given(plan=_plans)
async def test_any_interleaving(plan: _Plan) -> None:
    """Whatever happens when, a start ends once, is sent again only where that does no harm, and is reported."""
    async with Rig(OK, retry=RetryPolicy(attempts=3), is_signed=False) as rig:
        story = _Story(rig, plan)
        rig.send.steps = [story.vendor]
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(story.start())
        closings: list[asyncio.Future[None]] = []
        for phase in range(_PHASES):
            acts: list[Callable[[], object]] = []
            if phase == plan.cancelled_at:
                acts.append(task.cancel)
            if phase == plan.closed_at:
                acts.append(lambda: closings.append(asyncio.ensure_future(story.close())))
            await story.run_phase(*acts)
        await rig.clock.advance(1000)
        await asyncio.gather(*closings)
        await settle()
        assert task.done()
        _check_end(rig, story, task)
        assert asyncio.all_tasks() <= before
        rig.assert_idle()


def _check_end(rig: Rig, story: _Story, task: "asyncio.Task[str]") -> None:
    story.check_sendings()
    events = rig.emitted(StartAbandoned)
    error: BaseException | None
    if task.cancelled():
        assert len(events) <= 1
        assert events or not story.may_have_begun(), "forgotten"
        error = events[0].error if events else None
        is_result = bool(events) and error is None
    else:
        assert events == []
        error = task.exception()
        is_result = error is None
    assert rig.caller.starts == is_result
    if is_result:
        assert story.sent
    elif error is not None:
        assert isinstance(error, AgentsError)
        assert isinstance(error, StartUnknown) or not story.may_have_begun(), "taken for refused"
        assert story.plan.closed_at is not None or not isinstance(error, PoolClosed)
