"""Starts that the vendor takes twice for one: repeated under a new request, and never beyond what is known."""

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
    """Renews a request by numbering it, so often."""

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


def renewed(rig: Rig, renew: Callable[[], Request | None] | None, **changes: Any) -> Awaitable[str]:
    """Start what can be renewed; its first request has no number."""
    start: Start[str] = Start(
        vendor="leena",
        request=REFUSING,
        read=read_text,
        target="triage",
        advice="Look there.",
        next_attempt=renew,
    )
    return rig.caller.start(rig.account, attrs.evolve(start, **changes))


async def ending(rig: Rig, renew: Callable[[], Request | None], **changes: Any) -> str | Exception:
    """Start it, let time pass, and give the result or what was raised."""

    async def start() -> str:
        return await renewed(rig, renew, **changes)

    return await rig.ends(start())


def numbers(rig: Rig) -> list[str]:
    """Return the numbers of the requests that were tried."""
    return [attempt.request.headers.get("number", "0") for attempt in rig.send.attempts]


async def _never() -> str:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await found


class _Nothing:
    """A search that finds nothing, or what `found` says, and only in the end."""

    def __init__(self, found: str | None = None) -> None:
        self.found = found
        self.was_sent: list[bool] = []

    async def find(self, pending: PendingStart[str]) -> str:
        return await _never()

    async def confirm(self, result: str) -> str:
        return result

    async def recover(self, error: AgentsError, pending: PendingStart[str]) -> str | None:
        self.was_sent.append(pending.is_sent)
        return self.found


# ── what is renewed, and what is not ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step", [LOST, Reply(502), Reply(504), NotSent("refused"), Reply(429), Reply(503)], ids=repr
)
async def test_next_try_is_a_new_request(step: Step) -> None:
    """After a lost reply, as after a refusal, the next try carries the renewed request."""
    async with Rig(step, step, OK) as rig:
        assert await ending(rig, Signer()) == "ok"
        assert numbers(rig) == ["0", "1", "2"]
        assert len(rig.emitted(RetryScheduled)) == 2
        assert rig.caller.starts == 1
        rig.assert_idle()


@pytest.mark.parametrize("step", [Reply(500), Reply(501), Reply(200), Reply(303)], ids=repr)
async def test_answers_that_hide_something_are_not_renewed(step: Step) -> None:
    """An answer that came, and does not tell what began, is followed by no other try."""
    async with Rig(step, OK) as rig:
        assert isinstance(await ending(rig, Signer()), StartUnknown)
        assert numbers(rig) == ["0"]


@pytest.mark.parametrize("step", [Reply(400), Reply(403), Reply(404), Reply(409)], ids=repr)
async def test_refusals_are_not_renewed(step: Step) -> None:
    """A refusal for good is raised at once."""
    async with Rig(step, OK) as rig:
        ended = await ending(rig, Signer())
        assert isinstance(ended, AgentsError)
        assert not isinstance(ended, StartUnknown)
        assert numbers(rig) == ["0"]


async def test_without_renewal_a_lost_reply_is_final() -> None:
    """What the vendor would take twice is sent once."""
    async with Rig(LOST, OK) as rig:
        assert isinstance(await rig.ends(rig.start()), StartUnknown)
        assert rig.send.times == 1


async def test_signed_at_the_moment_of_sending() -> None:
    """What is sent is made of the request once its turn has come, at each try."""
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
async def test_too_late_to_renew(steps: list[Step], error: type[AgentsError]) -> None:
    """Where it is too late for another try, what befell the last one is raised, unknown if any was lost."""
    async with Rig(*steps, OK) as rig:
        ended = await ending(rig, Signer(most=len(steps) - 1))
        assert isinstance(ended, error)
        assert isinstance(ended, StartUnknown) is (error is StartUnknown)
        assert rig.send.times == len(steps)
        rig.assert_idle()


# ── after a try that was lost ───────────────────────────────────────────────────────────────────────────


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
async def test_refusal_after_a_lost_try(step: Step, cause: type[AgentsError], is_signed: bool) -> None:
    """However a later try is refused, the earlier one may have begun something, which stays unknown."""
    async with Rig(LOST, step, is_signed=is_signed) as rig:
        search = _Nothing()
        ended = await ending(rig, Signer(), search=search)
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, cause)
        assert ended.sent_at == EPOCH  # of the try that may have begun something
        assert search.was_sent == [True]
        assert rig.send.times > 1
        rig.assert_idle()


async def test_refusal_after_a_lost_try_may_be_explained() -> None:
    """A search that finds what the lost try began turns a later refusal into a result."""
    async with Rig(LOST, Reply(409)) as rig:
        assert await ending(rig, Signer(), search=_Nothing("found")) == "found"
        assert rig.caller.starts == 1


async def test_new_token_after_a_lost_try() -> None:
    """A try that is refused for its token is made once more with a new one, also after a lost try."""
    async with Rig(LOST, Reply(401), OK) as rig:
        assert await ending(rig, Signer()) == "ok"
        assert numbers(rig) == ["0", "1", "1"]


async def test_lost_again_and_again() -> None:
    """A start whose every reply is lost is tried as often as the policy says, then unknown."""
    async with Rig(LOST, retry=RetryPolicy(attempts=4)) as rig:
        ended = await ending(rig, Signer())
        assert isinstance(ended, StartUnknown)
        assert numbers(rig) == ["0", "1", "2", "3"]
        assert isinstance(ended.__cause__, ReplyLost)
        assert ended.__cause__.tries == 4


async def test_budget_is_spent_by_renewals() -> None:
    """Renewals are taken out of the account's budget, and there are none when it is empty."""
    async with Rig(LOST, retry=RetryPolicy(attempts=50, reserve=2, share=0.0)) as rig:
        task = await rig.begin(_start(rig))
        await rig.clock.advance(10.0)
        assert task.done()
        assert numbers(rig) == ["0", "1", "2"]
        assert isinstance(task.exception(), StartUnknown)


def _start(rig: Rig, **changes: Any) -> Any:
    async def start() -> str:
        return await renewed(rig, Signer(), **changes)

    return start()


@pytest.mark.parametrize("status", [429, 502, 504])
async def test_retry_after_is_waited_out(status: int) -> None:
    """What the server asks for is waited out before the renewed request is sent."""
    async with Rig(Reply(status, {"retry-after": "60"}), OK) as rig:
        task = await rig.begin(_start(rig))
        await rig.clock.advance(59.0)
        assert rig.send.times == 1
        await rig.clock.advance(10.0)
        assert task.result() == "ok"


async def test_retry_after_beyond_patience() -> None:
    """A wait that is longer than the policy's patience is not begun."""
    async with Rig(Reply(504, {"retry-after": "1000"}), OK) as rig:
        assert isinstance(await ending(rig, Signer()), StartUnknown)
        assert rig.send.times == 1


# ── who asked, or the pool, goes away ───────────────────────────────────────────────────────────────────


async def _lost_with_a_wait(attempt: Attempt) -> Reply:
    attempt.note_sent()
    raise ReplyLost("cut", call=attempt.request.call, retry_after=30.0)


@pytest.mark.parametrize("found", [None, "found"])
async def test_cancelled_between_a_lost_try_and_the_next(found: str | None) -> None:
    """When who asked leaves after a lost try, none is made any more, and what became of it is told."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig, search=_Nothing(found)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.clock.advance(1000)
        assert rig.send.times == 1
        (event,) = rig.emitted(StartAbandoned)
        assert isinstance(event.error, StartUnknown) is (found is None)
        rig.assert_idle()


@pytest.mark.parametrize("found", [None, "found"])
async def test_landing_between_a_lost_try_and_the_next(found: str | None) -> None:
    """While the pool lands, nothing is sent again; the start ends as what is known of its earlier try."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig, search=_Nothing(found)))
        landing = await rig.begin(rig.caller.drain(60.0))
        await rig.clock.advance(1000)
        assert landing.done()
        assert rig.send.times == 1
        ended = (await asyncio.gather(task, return_exceptions=True))[0]
        assert ended == found or (found is None and isinstance(ended, StartUnknown))


async def test_pool_closed_between_a_lost_try_and_the_next() -> None:
    """A start that waits for its next try after a lost one is unknown when the pool is closed."""
    async with Rig(_lost_with_a_wait, OK) as rig:
        task = await rig.begin(_start(rig))
        await rig.supervisor.aclose()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], StartUnknown)
        rig.assert_idle()


async def test_cancelled_while_the_renewed_request_connects() -> None:
    """A start whose caller leaves during its second try goes on with it: what is lost may still become known."""
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

_TURNS = 7
_REFUSED = ("not sent", "429", "503", "400", "409")
_HIDDEN = ("lost", "502", "500", "unreadable")


@frozen(kw_only=True)
class _Plan:
    """What is to happen: all turns are numbered, and what waits for one that is over waits no more."""

    #: For each try: its fate, the turn at which it is sent, and how many turns later it is answered.
    tries: list[tuple[str, int, int]]
    renewals: list[bool] | None
    is_searched: bool
    sight: str
    sight_at: int
    found: str | None
    found_at: int
    cancelled_at: int | None
    closed_at: int | None
    #: For each turn: whether what befalls the start comes first, ticks in between, and the time that passes.
    long_permits: list[tuple[bool, int, float]]


_turn = st.integers(0, _TURNS - 1)
_plans = st.builds(
    _Plan,
    tries=st.lists(
        st.tuples(st.sampled_from([*_REFUSED, *_HIDDEN, "ok"]), _turn, st.integers(-1, 2)),
        min_size=3,
        max_size=3,
    ),
    renewals=st.none() | st.lists(st.sampled_from([True, True, True, False]), min_size=3, max_size=3),
    is_searched=st.booleans(),
    sight=st.sampled_from(["never", "seen", "gives up"]),
    sight_at=_turn,
    found=st.sampled_from([None, "found"]),
    found_at=_turn,
    cancelled_at=st.none() | _turn,
    closed_at=st.none() | _turn,
    long_permits=st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.sampled_from([0.0, 0.3, 40.0])),
        min_size=_TURNS,
        max_size=_TURNS,
    ),
)


class _Story:
    """One start at a vendor that does what it wants, with all that befalls it at turns of a wheel."""

    def __init__(self, rig: Rig, plan: _Plan) -> None:
        self.rig = rig
        self.plan = plan
        loop = asyncio.get_running_loop()
        self.wheel: list[asyncio.Future[None]] = [loop.create_future() for _ in range(_TURNS)]
        self.now = 0
        #: Each first byte that left: the request, and what the vendor made of it.
        self.sent: list[tuple[Request, str]] = []
        self.renewals: list[Request] = []

    async def until(self, turn: int) -> None:
        """Wait for a turn that is not over."""
        if self.now <= turn < _TURNS:
            await asyncio.shield(self.wheel[turn])

    async def vendor(self, attempt: Attempt) -> Reply:
        """Do with one try as planned."""
        fate, sent_at, later = self.plan.tries[self.rig.send.times - 1]
        await self.until(sent_at)
        if fate == "not sent":
            raise NotSent("refused", call=attempt.request.call)
        attempt.note_sent()
        self.sent.append((attempt.request, "dropped"))  # unless more is known of it later
        await self.until(self.now + later)
        self.sent[-1] = (attempt.request, fate)
        if fate == "lost":
            raise ReplyLost("cut", call=attempt.request.call)
        bodies = {"ok": b"ok", "unreadable": b""}
        return Reply(200 if fate in bodies else int(fate), {}, bodies.get(fate, b"{}"))

    def renew(self) -> Request | None:
        """Return the next request, or None when it is too late."""
        assert self.plan.renewals is not None
        if not self.plan.renewals[len(self.renewals)]:
            return None
        self.renewals.append(attrs.evolve(REFUSING, headers={"number": str(len(self.renewals) + 1)}))
        return self.renewals[-1]

    async def find(self, pending: PendingStart[str]) -> str:
        """See what is to be seen, if it can be this start's."""
        await self.until(self.plan.sight_at)
        if self.plan.sight == "never" or not pending.is_sent:
            return await _never()
        if self.plan.sight == "gives up":
            raise ReplyLost("enough")
        return "seen"

    async def confirm(self, result: str) -> str:
        """Take the answer, in time."""
        await self.until(self.plan.found_at)
        return result

    async def recover(self, error: AgentsError, pending: PendingStart[str]) -> str | None:
        """Find what there is, in time."""
        await self.until(self.plan.found_at)
        return self.plan.found if pending.is_sent else None

    async def start(self) -> str:
        """Make the start."""
        renew = self.renew if self.plan.renewals is not None else None
        return await renewed(self.rig, renew, search=self if self.plan.is_searched else None)

    async def close(self) -> None:
        """Close the pool as pools do."""
        await self.rig.caller.drain(0.0)
        await self.rig.supervisor.aclose()

    async def turn(self, *acts: Callable[[], object]) -> None:
        """Have everything go on that waits for this turn, and something else happen at about the same time."""
        is_act_first, ticks, seconds = self.plan.long_permits[self.now]
        wheel = self.wheel[self.now]
        self.now += 1
        steps: list[Callable[[], object]] = [lambda: wheel.set_result(None), *acts]
        for step in reversed(steps) if is_act_first else steps:
            step()
            for _ in range(ticks if acts else 0):
                await asyncio.sleep(0)
        await self.rig.clock.advance(seconds)

    def may_have_begun(self) -> bool:
        """Return whether any try was sent that was not surely refused."""
        return any(fate not in _REFUSED for _, fate in self.sent)

    def check_sendings(self) -> None:
        """See that nothing was sent twice but what was refused, or renewed."""
        for (_, fate), (second, _) in itertools.pairwise(self.sent):
            assert fate in _REFUSED or (fate in {"lost", "502"} and second in self.renewals)
        if self.plan.renewals is not None:
            requests = [id(request) for request, _ in self.sent]
            assert len(requests) == len(set(requests))


@settings(max_examples=60, deadline=None)
@given(plan=_plans)
async def test_any_interleaving(plan: _Plan) -> None:
    """Whatever happens when, a start ends once, is sent again only where that does no harm, and is not forgotten."""
    async with Rig(OK, retry=RetryPolicy(attempts=3), is_signed=False) as rig:
        story = _Story(rig, plan)
        rig.send.steps = [story.vendor]
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(story.start())
        closings: list[asyncio.Future[None]] = []
        for turn in range(_TURNS):
            acts: list[Callable[[], object]] = []
            if turn == plan.cancelled_at:
                acts.append(task.cancel)
            if turn == plan.closed_at:
                acts.append(lambda: closings.append(asyncio.ensure_future(story.close())))
            await story.turn(*acts)
        await rig.clock.advance(1000)
        await asyncio.gather(*closings)
        await settle()
        assert task.done()
        _check_end(rig, story, task)
        assert asyncio.all_tasks() <= before
        rig.assert_idle()


def _check_end(rig: Rig, story: _Story, task: "asyncio.Task[str]") -> None:
    story.check_sendings()
    told = rig.emitted(StartAbandoned)
    error: BaseException | None
    if task.cancelled():
        assert len(told) <= 1
        assert told or not story.may_have_begun(), "forgotten"
        error = told[0].error if told else None
        is_result = bool(told) and error is None
    else:
        assert told == []
        error = task.exception()
        is_result = error is None
    assert rig.caller.starts == is_result
    if is_result:
        assert story.sent
    elif error is not None:
        assert isinstance(error, AgentsError)
        assert isinstance(error, StartUnknown) or not story.may_have_begun(), "taken for refused"
        assert story.plan.closed_at is not None or not isinstance(error, PoolClosed)
