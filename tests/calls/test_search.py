"""Starts whose run can be found by other means: whatever comes first, reply, sighting, cancellation or end."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from aioagents.calls import PendingStart, Start
from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    Conflict,
    NotFound,
    NotSent,
    PoolClosed,
    ReplyLost,
    ServerError,
    StartUnknown,
    Throttled,
)
from aioagents.model import Reply, Run, RunRef, RunState
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.polling import RunHandle
from aioagents.retry import RetryPolicy
from aioagents.transport import PoolLimits
from tests.calls.rig import OK, SECRET, START, Attempt, Held, Rig, Step, read_text
from tests.fakes import EPOCH, settle

ONCE = RetryPolicy(attempts=1)
ONE = PoolLimits(requests_at_once=1)


class Handle(RunHandle):
    """A handle that was never bound to a pool: only what the vendor accepted matters here."""

    def __init__(self, name: str) -> None:
        ref = RunRef("leena", "", name)
        self.accepted = Run(
            ref=ref, state=RunState.QUEUED, status="accepted", seen_at=datetime(2026, 1, 5, tzinfo=UTC)
        )

    @property
    def name(self) -> str:
        """Return the run's id."""
        assert self.accepted is not None
        return self.accepted.ref.id


class Scout:
    """A search that sees what it is told to see, and notes what it was asked."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.sight: asyncio.Future[str] = loop.create_future()
        #: What a poll after a fault finds; waits for it where it is a future.
        self.later: str | asyncio.Future[str | None] | None = None
        self.instead: dict[str, str | asyncio.Future[str]] = {}
        self.asked: list[str] = []
        self.faults: list[tuple[AgentsError, bool]] = []
        self.was_cancelled = False

    async def find(self, pending: PendingStart[RunHandle]) -> RunHandle:
        """See the run once it is in sight."""
        self.asked.append("watch")
        try:
            return Handle(await self.sight)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def confirm(self, result: RunHandle) -> RunHandle:
        """Put another run in the place of the one that was answered."""
        self.asked.append("answered")
        assert isinstance(result, Handle)
        other = self.instead.get(result.name)
        if isinstance(other, asyncio.Future):
            other = await other
        return result if other is None else Handle(other)

    async def recover(self, error: AgentsError, pending: PendingStart[RunHandle]) -> RunHandle | None:
        """Look once more."""
        self.asked.append("failed")
        self.faults.append((error, pending.is_sent))
        found = await self.later if isinstance(self.later, asyncio.Future) else self.later
        return None if found is None else Handle(found)


def read(reply: Reply) -> RunHandle:
    """Read the name of a run, which must not be empty."""
    return Handle(read_text(reply))


def started(rig: Rig, scout: Scout, **changes: Any) -> Awaitable[RunHandle]:
    """Start something that can be searched for."""
    start: Start[RunHandle] = Start(
        vendor="leena", request=START, read=read, target="triage", advice=lambda: "Look there.", search=scout
    )
    return rig.caller.start(rig.account, attrs.evolve(start, **changes))


async def begin(rig: Rig, scout: Scout, **changes: Any) -> "asyncio.Task[RunHandle]":
    """Start it, and go as far as it comes without time passing."""

    async def start() -> RunHandle:
        return await started(rig, scout, **changes)

    return await rig.begin(start())


async def outcome(task: "asyncio.Task[RunHandle]") -> str | BaseException:
    """Return the name of the run that was got, or what was raised."""
    await asyncio.wait([task])
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    if error is not None:
        return error
    result = task.result()
    assert isinstance(result, Handle)
    return result.name


def assert_one_run(rig: Rig, name: str) -> None:
    """See that one run was told and counted."""
    assert [event.run.ref.id for event in rig.emitted(RunStarted)] == [name]
    assert rig.caller.starts == 1


def assert_none(rig: Rig) -> None:
    """See that no run was told or counted."""
    assert rig.emitted(RunStarted) == []
    assert rig.caller.starts == 0


# ── what comes first ────────────────────────────────────────────────────────────────────────────────────


async def test_found_while_the_reply_is_out() -> None:
    """A run that is seen first is the result: the connection is dropped, all is given back, and it is told once."""
    held = Held()
    async with Rig(held, limits=ONE) as rig:
        scout, tasks = Scout(), asyncio.all_tasks()
        task = await begin(rig, scout)
        assert rig.account.limiter.statistics().under_way == 1
        scout.sight.set_result("seen")
        assert await outcome(task) == "seen"
        assert held.reply.cancelled()
        assert scout.asked == ["watch"]
        assert_one_run(rig, "seen")
        assert rig.emitted(StartAbandoned) == []
        await settle()
        assert asyncio.all_tasks() == tasks
        rig.assert_idle()


async def test_found_between_two_tries() -> None:
    """A run that the search vouches for is the result also while no try is out, and there is no other try."""
    async with Rig(Reply(429, {"retry-after": "60"}), OK) as rig:
        scout = Scout()
        task = await begin(rig, scout)
        scout.sight.set_result("seen")
        assert await outcome(task) == "seen"
        await rig.clock.advance(100)
        assert rig.send.times == 1
        assert_one_run(rig, "seen")
        rig.assert_idle()


@pytest.mark.parametrize(("instead", "name"), [({}, "ok"), ({"ok": "other"}, "other")])
async def test_answered_first(instead: dict[str, str], name: str) -> None:
    """A reply that comes first ends the watch, and the search has the last word on whose run it is."""
    async with Rig(OK) as rig:
        scout = Scout()
        scout.instead |= instead
        assert await outcome(await begin(rig, scout)) == name
        assert scout.asked == ["watch", "answered"]
        assert scout.was_cancelled
        assert_one_run(rig, name)
        rig.assert_idle()


#: What befalls a start, the error where nothing is found, and whether something may have begun.
FATES: list[tuple[Step, type[AgentsError], bool]] = [
    (ReplyLost("cut"), ReplyLost, True),
    (Reply(500, {}, b"hunter2"), ServerError, True),
    (Reply(501), ServerError, True),
    (Reply(502), ServerError, True),
    (Reply(503), ServerError, True),
    (Reply(504), ServerError, True),
    (Reply(200), AgentsError, True),
    (Reply(302, {"location": "x"}), AgentsError, False),
    (Reply(303), AgentsError, True),
    (Reply(400), BadRequest, False),
    (Reply(401), AuthenticationError, False),
    (Reply(404), NotFound, False),
    (Reply(409), Conflict, False),
    (Reply(429), Throttled, False),
    (NotSent("refused"), NotSent, False),
]
_IDS = [
    f"{step.status}" if isinstance(step, Reply) else type(step).__name__
    for step, *_ in FATES
]  # fmt: skip


@pytest.mark.parametrize(("step", "error", "is_unknown"), FATES, ids=_IDS)
async def test_nothing_is_found_after_a_fault(step: Step, error: type[AgentsError], is_unknown: bool) -> None:
    """The search is asked after any fault; where it finds nothing, the refusal is raised, else StartUnknown."""
    async with Rig(step, retry=ONCE, is_signed=False) as rig:
        scout = Scout()
        ended = await outcome(await begin(rig, scout))
        assert scout.asked == ["watch", "failed"]
        ((fault, was_sent),) = scout.faults
        assert isinstance(fault, error)
        assert was_sent is is_unknown
        if is_unknown:
            assert isinstance(ended, StartUnknown)
            assert (ended.advice, ended.target, ended.sent_at) == ("Look there.", "triage", EPOCH)
            assert ended.__cause__ is fault
        else:
            assert ended is fault
        assert SECRET not in f"{ended} {ended!r}"
        assert rig.send.times == 1
        assert_none(rig)
        rig.assert_idle()


@pytest.mark.parametrize(("step", "error", "is_unknown"), FATES, ids=_IDS)
async def test_found_after_a_fault(step: Step, error: type[AgentsError], is_unknown: bool) -> None:
    """What the search finds after any fault is the result, told and counted once."""
    async with Rig(step, retry=ONCE, is_signed=False) as rig:
        scout = Scout()
        scout.later = "found"
        assert await outcome(await begin(rig, scout)) == "found"
        assert rig.send.times == 1
        assert_one_run(rig, "found")
        rig.assert_idle()


async def test_refusals_by_which_nothing_began() -> None:
    """A 503 by which the vendor's facts say that nothing was executed is raised, after its tries, as it is."""
    request = attrs.evolve(START, refused_by=frozenset({503}))
    async with Rig(Reply(503), retry=RetryPolicy(attempts=3)) as rig:
        scout = Scout()
        task = await begin(rig, scout, request=request)
        await rig.clock.advance(100)
        ended = await outcome(task)
        assert type(ended) is ServerError
        assert scout.faults == [(ended, False)]
        assert scout.asked == ["watch", "failed"]
        assert rig.send.times == 3


async def test_advice_is_asked_for_at_the_end() -> None:
    """Advice that is made from what was seen is made once nothing more is to be seen."""
    seen: list[str] = []
    async with Rig(ReplyLost("cut")) as rig:
        scout = Scout()
        scout.later = asyncio.get_running_loop().create_future()
        task = await begin(rig, scout, advice=lambda: f"Seen: {', '.join(seen)}.")
        seen.append("run-7")
        scout.later.set_result(None)
        ended = await outcome(task)
        assert isinstance(ended, StartUnknown)
        assert ended.advice == "Seen: run-7."
        assert "Seen: run-7." in str(ended)


# ── a search that ends the connection, or breaks ────────────────────────────────────────────────────────


@pytest.mark.parametrize("found", [None, "found"])
async def test_watch_that_gives_up_drops_the_connection(found: str | None) -> None:
    """An error that the watch raises drops the connection, and counts as what became of the reply."""
    held = Held()
    async with Rig(held) as rig:
        scout = Scout()
        scout.later = found
        task = await begin(rig, scout)
        error = ReplyLost("enough", call="aop.execute")
        scout.sight.set_exception(error)
        ended = await outcome(task)
        assert held.reply.cancelled()
        assert scout.faults == [(error, True)]
        if found is None:
            assert isinstance(ended, StartUnknown)
            assert ended.__cause__ is error
            assert_none(rig)
        else:
            assert ended == found
            assert_one_run(rig, found)
        rig.assert_idle()


async def test_watch_that_gives_up_before_anything_is_sent() -> None:
    """A watch that gives up while the start waits for its turn ends it, and nothing is sent."""
    held = Held()
    async with Rig(held, limits=ONE) as rig:
        first = await rig.begin(rig.start())
        scout = Scout()
        task = await begin(rig, scout)
        error = AgentsError("no use")
        scout.sight.set_exception(error)
        assert await outcome(task) is error
        assert scout.faults == [(error, False)]
        held.reply.set_result(OK)
        assert await first == "ok"
        assert rig.send.times == 1
        rig.assert_idle()


@pytest.mark.parametrize("is_sent", [False, True])
async def test_watch_that_breaks(is_sent: bool) -> None:
    """A fault of the search's own is told as what it is, never as nothing begun once the start is out."""
    async with Rig(Held(is_connecting=not is_sent)) as rig:
        scout = Scout()
        task = await begin(rig, scout)
        scout.sight.set_exception(KeyError(SECRET))
        ended = await outcome(task)
        assert isinstance(ended, AgentsError)
        assert isinstance(ended, StartUnknown) is is_sent
        cause = ended.__cause__ if is_sent else ended
        assert isinstance(cause, AgentsError)
        assert isinstance(cause.__cause__, KeyError)
        assert "KeyError" in str(cause)
        assert SECRET not in f"{ended} {ended!r}"
        rig.assert_idle()


async def test_reply_that_breaks_the_reading() -> None:
    """A fault in reading a reply is unknown, and is not searched for as if the vendor had failed."""

    def break_down(_: Reply) -> RunHandle:
        raise KeyError(SECRET)

    async with Rig(OK) as rig:
        scout = Scout()
        ended = await outcome(await begin(rig, scout, read=break_down))
        assert isinstance(ended, StartUnknown)
        assert scout.asked == ["watch"]


async def test_search_that_raises_afterwards() -> None:
    """An error of the search's last poll is unknown where the start was out, and raised where it was refused."""
    for step, is_unknown in ((ReplyLost("cut"), True), (Reply(409), False)):
        async with Rig(step) as rig:
            scout = Scout()
            error = ServerError("history is away")
            later: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            later.set_exception(error)
            scout.later = later
            ended = await outcome(await begin(rig, scout))
            assert isinstance(ended, StartUnknown) is is_unknown
            assert error in (ended, getattr(ended, "__cause__", None))


async def test_refusal_that_is_in_doubt() -> None:
    """A search that cannot tell what came before a refusal has it told as unknown."""

    class Doubting(Scout):
        async def recover(self, error: AgentsError, pending: PendingStart[RunHandle]) -> RunHandle | None:
            pending.note_may_have_begun()
            return await super().recover(error, pending)

    async with Rig(Reply(409)) as rig:
        ended = await outcome(await begin(rig, Doubting()))
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, Conflict)


# ── in the same moment ──────────────────────────────────────────────────────────────────────────────────


async def _together(rig: Rig, scout: Scout, *acts: Callable[[], object]) -> str | BaseException:
    """Have things happen in one turn of the loop."""
    task = await begin(rig, scout)
    for act in acts:
        act()
    return await outcome(task)


@pytest.mark.parametrize("is_reply_first", [True, False])
@pytest.mark.parametrize(
    ("reply", "asked", "expected"),
    [
        (OK, ["watch", "answered"], "ok"),
        (Reply(500), ["watch"], "seen"),
        (Reply(200), ["watch"], "seen"),
        (Reply(409), ["watch", "failed"], Conflict),
        (Reply(429, {"retry-after": "1000"}), ["watch", "failed"], Throttled),
    ],
    ids=["answered", "hidden", "unreadable", "refused", "throttled"],
)
async def test_reply_and_sighting_at_once(
    reply: Reply, asked: list[str], expected: str | type[AgentsError], is_reply_first: bool
) -> None:
    """A reply that tells more than the sighting of the same moment prevails: a result, and a refusal."""
    held = Held()
    async with Rig(held) as rig:
        scout = Scout()
        acts = [lambda: held.reply.set_result(reply), lambda: scout.sight.set_result("seen")]
        ended = await _together(rig, scout, *(acts if is_reply_first else reversed(acts)))
        assert scout.asked == asked
        if isinstance(expected, str):
            assert ended == expected
            assert_one_run(rig, expected)
        else:
            assert type(ended) is expected
            assert_none(rig)
        rig.assert_idle()


@pytest.mark.parametrize("is_reply_first", [True, False])
async def test_refusal_and_a_watch_that_gives_up_at_once(is_reply_first: bool) -> None:
    """A refusal prevails over a watch that gives up in the same moment: nothing began."""
    held = Held()
    async with Rig(held) as rig:
        scout = Scout()
        acts = [
            lambda: held.reply.set_result(Reply(409)),
            lambda: scout.sight.set_exception(ReplyLost("enough")),
        ]
        ended = await _together(rig, scout, *(acts if is_reply_first else reversed(acts)))
        assert type(ended) is Conflict
        assert scout.faults == [(ended, False)]


# ── who asked goes away ─────────────────────────────────────────────────────────────────────────────────


async def _leave(task: "asyncio.Task[RunHandle]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()


@pytest.mark.parametrize("place", ["at the gate", "connecting", "between two tries"])
async def test_cancelled_before_the_first_byte(place: str) -> None:
    """Cancelled before anything left that was not refused, nothing more is sent, told or searched for."""
    steps: dict[str, list[Step]] = {
        "at the gate": [Held()],
        "connecting": [Held(is_connecting=True)],
        "between two tries": [Reply(429, {"retry-after": "60"}), OK],
    }
    async with Rig(*steps[place], limits=ONE) as rig:
        first = await rig.begin(rig.start()) if place == "at the gate" else None
        scout = Scout()
        task = await begin(rig, scout)
        times = rig.send.times
        await _leave(task)
        await rig.clock.advance(1000)
        assert scout.asked == ["watch"]
        assert scout.was_cancelled
        assert rig.send.times == times
        assert rig.emitted(StartAbandoned) == []
        if first is not None:
            first.cancel()
        assert_none(rig)


@pytest.mark.parametrize("is_cancelled_first", [True, False])
@pytest.mark.parametrize("rounds", range(8))
async def test_cancelled_as_the_connection_is_made(rounds: int, is_cancelled_first: bool) -> None:
    """A start is never sent and forgotten: either no byte leaves any more, or what comes of it is told."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[None] = loop.create_future()
    answer: asyncio.Future[Reply] = loop.create_future()
    left: list[Attempt] = []

    async def connect(attempt: Attempt) -> Reply:
        await connected
        attempt.note_sent()
        left.append(attempt)
        return await answer

    async with Rig(connect) as rig:
        scout = Scout()
        task = await begin(rig, scout)

        def connect_now() -> None:
            if not connected.done():
                connected.set_result(None)

        acts: list[Callable[[], object]] = [connect_now, task.cancel]
        first, second = reversed(acts) if is_cancelled_first else acts
        first()
        for _ in range(rounds):
            await asyncio.sleep(0)
        second()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await settle()
        assert rig.emitted(StartAbandoned) == []
        answer.set_result(OK)
        await settle()
        assert len(rig.emitted(StartAbandoned)) == len(left)
        assert rig.caller.starts == len(left)
        rig.assert_idle()


@pytest.mark.parametrize("means", ["sight", "reply", "poll"])
async def test_cancelled_while_it_is_out(means: str) -> None:
    """Cancelled later, the search goes on, and the run is told as abandoned once it is found, by whatever means."""
    held = Held()
    async with Rig(held, OK) as rig:
        scout = Scout()
        scout.later = "found"
        task = await begin(rig, scout)
        await _leave(task)
        assert rig.emitted(StartAbandoned) == []
        assert not scout.was_cancelled
        if means == "sight":
            scout.sight.set_result("found")
        else:
            held.reply.set_result(Reply(200, {}, b"found") if means == "reply" else Reply(500))
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert event.run is not None
        assert (event.run.ref.id, event.error) == ("found", None)
        assert_one_run(rig, "found")
        assert rig.send.times == 1
        rig.assert_idle()


@pytest.mark.parametrize(("reply", "error"), [(Reply(500), StartUnknown), (Reply(409), Conflict)])
async def test_cancelled_and_never_found(reply: Reply, error: type[AgentsError]) -> None:
    """Where the search finds nothing after its caller left, what became of the start is told."""
    held = Held()
    async with Rig(held, OK) as rig:
        scout = Scout()
        await _leave(await begin(rig, scout))
        held.reply.set_result(reply)
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert type(event.error) is error
        assert rig.send.times == 1


@pytest.mark.parametrize("found", [None, "found"])
async def test_cancelled_during_the_last_poll(found: str | None) -> None:
    """The look after a lost reply goes on without who asked, and its outcome is told."""
    async with Rig(ReplyLost("cut")) as rig:
        scout = Scout()
        scout.later = asyncio.get_running_loop().create_future()
        await _leave(await begin(rig, scout))
        scout.later.set_result(found)
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert (event.run is None) is (found is None)
        assert isinstance(event.error, StartUnknown) is (found is None)


async def test_cancelled_during_the_poll_after_a_refusal() -> None:
    """A refused start whose caller leaves while it is looked into is over, and there is nothing to tell."""
    async with Rig(Reply(409)) as rig:
        scout = Scout()
        scout.later = asyncio.get_running_loop().create_future()
        await _leave(await begin(rig, scout))
        assert scout.later.cancelled()
        assert rig.emitted(StartAbandoned) == []


# ── the pool goes away ──────────────────────────────────────────────────────────────────────────────────

_PHASES: dict[str, tuple[Callable[[], Step], type[AgentsError]]] = {
    "at the gate": (Held, PoolClosed),
    "connecting": (lambda: Held(is_connecting=True), PoolClosed),
    "between two tries": (lambda: Reply(429, {"retry-after": "60"}), PoolClosed),
    "out": (Held, StartUnknown),
    "last poll": (lambda: ReplyLost("cut"), StartUnknown),
    "look after a refusal": (lambda: Reply(409), PoolClosed),
    "look after an answer": (lambda: OK, StartUnknown),
}


@pytest.mark.parametrize("is_awaited", [True, False])
@pytest.mark.parametrize("is_landed", [True, False])
@pytest.mark.parametrize("phase", _PHASES)
async def test_pool_closed_in_each_phase(phase: str, is_landed: bool, is_awaited: bool) -> None:
    """Closing ends a start in any phase: refused where nothing can have begun, else unknown; never in silence."""
    make, error = _PHASES[phase]
    async with Rig(make(), limits=ONE) as rig:
        loop, tasks = asyncio.get_running_loop(), asyncio.all_tasks()
        first = await rig.begin(rig.start()) if phase == "at the gate" else None
        scout = Scout()
        scout.later = loop.create_future()
        scout.instead["ok"] = loop.create_future()
        task = await begin(rig, scout)
        if not is_awaited:
            await _leave(task)
        if is_landed:
            await rig.caller.drain(0.0)
        await rig.supervisor.aclose()
        if first is not None:
            await asyncio.gather(first, return_exceptions=True)
        if is_awaited:
            # Without landing, a place at the gate may come free a moment before the end is known.
            is_late = phase == "at the gate" and not is_landed
            assert type(await outcome(task)) in {error, StartUnknown if is_late else error}
            assert rig.emitted(StartAbandoned) == []
        else:
            told = [type(event.error) for event in rig.emitted(StartAbandoned)]
            assert told == ([StartUnknown] if error is StartUnknown else [])
        assert_none(rig)
        await settle()
        assert asyncio.all_tasks() <= tasks
        rig.assert_idle()


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_found_while_landing(is_awaited: bool) -> None:
    """A start that is out while the pool lands is still searched for, and found."""
    async with Rig(Held()) as rig:
        scout = Scout()
        task = await begin(rig, scout)
        if not is_awaited:
            await _leave(task)
        landing = await rig.begin(rig.caller.drain(60.0))
        scout.sight.set_result("seen")
        await settle()
        assert landing.done()
        assert_one_run(rig, "seen")
        assert [event.run is not None for event in rig.emitted(StartAbandoned)] == (
            [] if is_awaited else [True]
        )
        if is_awaited:
            assert await outcome(task) == "seen"


async def test_nothing_is_sent_while_landing() -> None:
    """A start whose connection is made in the very moment of landing is not sent any more."""
    for rounds in range(6):
        connecting = Held(is_connecting=True)
        async with Rig(connecting) as rig:
            scout = Scout()
            task = await begin(rig, scout)
            landing = asyncio.ensure_future(rig.caller.drain(0.0))
            connecting.reply.set_result(OK)
            for _ in range(rounds):
                await asyncio.sleep(0)
            await landing
            await rig.supervisor.aclose()
            ended = await outcome(task)
            assert ended == "ok" or isinstance(ended, PoolClosed)
            rig.assert_idle()


async def test_task_ended_from_outside() -> None:
    """A program that cancels every task it finds leaves no start without an end."""
    async with Rig(Held()) as rig:
        scout = Scout()
        before = asyncio.all_tasks()
        task = await begin(rig, scout)
        for each in asyncio.all_tasks() - before - {task}:
            if "_attempt_and_search" in each.get_name():
                each.cancel()
        await settle()
        ended = await outcome(task)
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, ReplyLost)
        assert scout.asked == ["watch"]
        rig.assert_idle()
