"""Starts whose run can be found by other means: the reply, a finding, a cancellation or the end may come first."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from aioagents.calls import PendingStart, Start
from aioagents.calls.starts import LONGEST_FIND
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
    """A handle that is bound to no pool: only what the vendor accepted matters here."""

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


class FakeSearch:
    """A search that finds what a test says, and records its calls. Only asked after a fault unless `is_early`."""

    def __init__(self, *, is_early: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.is_early = is_early
        self.found_early: asyncio.Future[str] = loop.create_future()
        #: What a search after an error finds; waited for where it is a future.
        self.later: str | asyncio.Future[str | None] | None = None
        self.instead: dict[str, str | asyncio.Future[str]] = {}
        self.asked: list[str] = []
        self.faults: list[tuple[AgentsError, bool]] = []
        self.was_cancelled = False

    async def find_early(self, pending: PendingStart[RunHandle]) -> RunHandle:
        """Return the run once the test sets it."""
        self.asked.append("find_early")
        try:
            return Handle(await self.found_early)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def confirm(self, result: RunHandle) -> RunHandle:
        """Return another run in place of the one in the reply, if the test says so."""
        self.asked.append("confirm")
        assert isinstance(result, Handle)
        other = self.instead.get(result.name)
        if isinstance(other, asyncio.Future):
            other = await other
        return result if other is None else Handle(other)

    async def find_start(self, pending: PendingStart[RunHandle], error: AgentsError) -> RunHandle | None:
        """Return what the test says is found in the end."""
        self.asked.append("find_start")
        self.faults.append((error, pending.is_sent))
        found = await self.later if isinstance(self.later, asyncio.Future) else self.later
        return None if found is None else Handle(found)


def read(reply: Reply) -> RunHandle:
    """Return a handle of the run that is named; the name must not be empty."""
    return Handle(read_text(reply))


def started(rig: Rig, search: FakeSearch, **changes: Any) -> Awaitable[RunHandle]:
    """Make a start that can be searched for."""
    start: Start[RunHandle] = Start(
        vendor="leena",
        request=START,
        read=read,
        target="triage",
        advice=lambda: "Check there.",
        find_start=search.find_start,
        find_early=search.find_early if search.is_early else None,
        confirm=search.confirm,
    )
    return rig.caller.start(rig.account, attrs.evolve(start, **changes))


async def begin(rig: Rig, search: FakeSearch, **changes: Any) -> "asyncio.Task[RunHandle]":
    """Make the start, and let it go as far as it gets without time passing."""

    async def start() -> RunHandle:
        return await started(rig, search, **changes)

    return await rig.begin(start())


async def outcome(task: "asyncio.Task[RunHandle]") -> str | BaseException:
    """Return the name of the run that was found, or what was raised."""
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
    """Assert that one run was emitted and counted."""
    assert [event.run.ref.id for event in rig.emitted(RunStarted)] == [name]
    assert rig.caller.starts == 1


def assert_none(rig: Rig) -> None:
    """Assert that no run was emitted or counted."""
    assert rig.emitted(RunStarted) == []
    assert rig.caller.starts == 0


# ── what comes first ────────────────────────────────────────────────────────────────────────────────────


async def test_found_in_flight() -> None:
    """A run that is found first is the result: the connection is closed, all is released, and it is emitted once."""
    held = Held()
    async with Rig(held, limits=ONE) as rig:
        search, tasks = FakeSearch(), asyncio.all_tasks()
        task = await begin(rig, search)
        assert rig.account.limiter.statistics().under_way == 1
        search.found_early.set_result("seen")
        assert await outcome(task) == "seen"
        assert held.reply.cancelled()
        assert search.asked == ["find_early"]
        assert_one_run(rig, "seen")
        assert rig.emitted(StartAbandoned) == []
        await settle()
        assert asyncio.all_tasks() == tasks
        rig.assert_idle()


async def test_found_between_two_attempts() -> None:
    """A run that the search finds is the result also while no attempt is in flight, and there is no other attempt."""
    async with Rig(Reply(429, {"retry-after": "60"}), OK) as rig:
        search = FakeSearch()
        task = await begin(rig, search)
        search.found_early.set_result("seen")
        assert await outcome(task) == "seen"
        await rig.clock.advance(100)
        assert rig.send.times == 1
        assert_one_run(rig, "seen")
        rig.assert_idle()


@pytest.mark.parametrize(("instead", "name"), [({}, "ok"), ({"ok": "other"}, "other")])
async def test_answered_first(instead: dict[str, str], name: str) -> None:
    """A reply that comes first cancels the search, which then decides whose run it is."""
    async with Rig(OK) as rig:
        search = FakeSearch()
        search.instead |= instead
        assert await outcome(await begin(rig, search)) == name
        assert search.asked == ["find_early", "confirm"]
        assert search.was_cancelled
        assert_one_run(rig, name)
        rig.assert_idle()


#: What happens to a start, the error where nothing is found, and whether something may have begun.
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


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize(("step", "error", "is_unknown"), FATES, ids=_IDS)
async def test_nothing_is_found_after_an_error(
    step: Step, error: type[AgentsError], is_unknown: bool, is_early: bool
) -> None:
    """The search is asked after any error; where it finds nothing, the refusal is raised, else StartUnknown."""
    async with Rig(step, retry=ONCE, is_signed=False) as rig:
        search = FakeSearch(is_early=is_early)
        ended = await outcome(await begin(rig, search))
        assert search.asked == [*(["find_early"] if is_early else []), "find_start"]
        ((fault, was_sent),) = search.faults
        assert isinstance(fault, error)
        assert was_sent is is_unknown
        if is_unknown:
            assert isinstance(ended, StartUnknown)
            assert (ended.advice, ended.target, ended.sent_at) == ("Check there.", "triage", EPOCH)
            assert ended.__cause__ is fault
        else:
            assert ended is fault
        assert SECRET not in f"{ended} {ended!r}"
        assert rig.send.times == 1
        assert_none(rig)
        rig.assert_idle()


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize(("step", "error", "is_unknown"), FATES, ids=_IDS)
async def test_found_after_an_error(
    step: Step, error: type[AgentsError], is_unknown: bool, is_early: bool
) -> None:
    """What the search finds after any error is the result, emitted and counted once."""
    async with Rig(step, retry=ONCE, is_signed=False) as rig:
        search = FakeSearch(is_early=is_early)
        search.later = "found"
        assert await outcome(await begin(rig, search)) == "found"
        assert rig.send.times == 1
        assert_one_run(rig, "found")
        rig.assert_idle()


async def test_refusals_by_which_nothing_began() -> None:
    """A 503 that means, for this vendor, that nothing was executed is raised as it is after all attempts."""
    request = attrs.evolve(START, refused_by=frozenset({503}))
    async with Rig(Reply(503), retry=RetryPolicy(attempts=3)) as rig:
        search = FakeSearch()
        task = await begin(rig, search, request=request)
        await rig.clock.advance(100)
        ended = await outcome(task)
        assert type(ended) is ServerError
        assert search.faults == [(ended, False)]
        assert search.asked == ["find_early", "find_start"]
        assert rig.send.times == 3


async def test_advice_is_asked_for_at_the_end() -> None:
    """Advice that depends on what was found is made at the very end."""
    seen: list[str] = []
    async with Rig(ReplyLost("cut")) as rig:
        search = FakeSearch()
        search.later = asyncio.get_running_loop().create_future()
        task = await begin(rig, search, advice=lambda: f"Seen: {', '.join(seen)}.")
        seen.append("run-7")
        search.later.set_result(None)
        ended = await outcome(task)
        assert isinstance(ended, StartUnknown)
        assert ended.advice == "Seen: run-7."
        assert "Seen: run-7." in str(ended)


async def test_find_start_makes_no_task() -> None:
    """A start that is answered asks for no search, and runs in one task, with `find_start` as without."""
    held = Held()
    async with Rig(held) as rig:
        before = asyncio.all_tasks()
        search = FakeSearch(is_early=False)
        task = await begin(rig, search)
        assert len(asyncio.all_tasks() - before) == 2  # the caller's own, and the start's
        held.reply.set_result(OK)
        assert await outcome(task) == "ok"
        assert search.asked == []
        assert_one_run(rig, "ok")


async def test_find_start_after_all_attempts() -> None:
    """A start that is refused and sent again is looked up once, after the last attempt."""
    async with Rig(Reply(429), Reply(429), ReplyLost("cut")) as rig:
        search = FakeSearch(is_early=False)
        search.later = "found"
        task = await begin(rig, search)
        await rig.clock.advance(100)
        assert await outcome(task) == "found"
        assert rig.send.times == 3
        assert [(type(error), is_sent) for error, is_sent in search.faults] == [(ReplyLost, True)]


@pytest.mark.parametrize("is_early", [True, False])
async def test_find_start_that_does_not_end(is_early: bool) -> None:
    """A look-up that hangs is given up: the start is then unknown, and nothing is left of it."""
    async with Rig(ReplyLost("cut")) as rig:
        tasks = asyncio.all_tasks()
        search = FakeSearch(is_early=is_early)
        search.later = asyncio.get_running_loop().create_future()
        task = await begin(rig, search)
        await rig.clock.advance(LONGEST_FIND - 1.0)
        assert not task.done()
        await rig.clock.advance(1.0)
        ended = await outcome(task)
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, ReplyLost)
        assert search.later.cancelled()
        await settle()
        assert asyncio.all_tasks() == tasks
        assert_none(rig)
        rig.assert_idle()


# ── a search that ends the connection, or breaks ────────────────────────────────────────────────────────


@pytest.mark.parametrize("found", [None, "found"])
async def test_search_that_gives_up_closes_the_connection(found: str | None) -> None:
    """An error that the search raises closes the connection, and is handled as if the reply had failed with it."""
    held = Held()
    async with Rig(held) as rig:
        search = FakeSearch()
        search.later = found
        task = await begin(rig, search)
        error = ReplyLost("enough", call="aop.execute")
        search.found_early.set_exception(error)
        ended = await outcome(task)
        assert held.reply.cancelled()
        assert search.faults == [(error, True)]
        if found is None:
            assert isinstance(ended, StartUnknown)
            assert ended.__cause__ is error
            assert_none(rig)
        else:
            assert ended == found
            assert_one_run(rig, found)
        rig.assert_idle()


async def test_search_that_gives_up_before_anything_is_sent() -> None:
    """A search that gives up while the start waits for a permit ends it, and nothing is sent."""
    held = Held()
    async with Rig(held, limits=ONE) as rig:
        first = await rig.begin(rig.start())
        search = FakeSearch()
        task = await begin(rig, search)
        error = AgentsError("no use")
        search.found_early.set_exception(error)
        assert await outcome(task) is error
        assert search.faults == [(error, False)]
        held.reply.set_result(OK)
        assert await first == "ok"
        assert rig.send.times == 1
        rig.assert_idle()


@pytest.mark.parametrize("is_sent", [False, True])
async def test_search_that_breaks(is_sent: bool) -> None:
    """An exception of the search is raised as it is, but a start that is in flight is unknown."""
    async with Rig(Held(is_connecting=not is_sent)) as rig:
        search = FakeSearch()
        task = await begin(rig, search)
        search.found_early.set_exception(KeyError(SECRET))
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
    """An exception in reading a reply means unknown, and is not searched for as if the vendor had failed."""

    def break_down(_: Reply) -> RunHandle:
        raise KeyError(SECRET)

    async with Rig(OK) as rig:
        search = FakeSearch()
        ended = await outcome(await begin(rig, search, read=break_down))
        assert isinstance(ended, StartUnknown)
        assert search.asked == ["find_early"]


async def test_search_that_raises_afterwards() -> None:
    """An error of the last search means unknown where the start was in flight, and is raised where it was refused."""
    for step, is_unknown in ((ReplyLost("cut"), True), (Reply(409), False)):
        async with Rig(step) as rig:
            search = FakeSearch()
            error = ServerError("history is away")
            later: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            later.set_exception(error)
            search.later = later
            ended = await outcome(await begin(rig, search))
            assert isinstance(ended, StartUnknown) is is_unknown
            assert error in (ended, getattr(ended, "__cause__", None))


async def test_refusal_that_is_in_doubt() -> None:
    """Where a search cannot find out what came before a refusal, the start is unknown."""

    class Doubting(FakeSearch):
        async def find_start(self, pending: PendingStart[RunHandle], error: AgentsError) -> RunHandle | None:
            pending.note_may_have_begun()
            return await super().find_start(pending, error)

    async with Rig(Reply(409)) as rig:
        ended = await outcome(await begin(rig, Doubting()))
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, Conflict)


# ── in the same step of the loop ────────────────────────────────────────────────────────────────────────


async def _together(rig: Rig, search: FakeSearch, *acts: Callable[[], object]) -> str | BaseException:
    """Call functions in one step of the loop."""
    task = await begin(rig, search)
    for act in acts:
        act()
    return await outcome(task)


@pytest.mark.parametrize("is_reply_first", [True, False])
@pytest.mark.parametrize(
    ("reply", "asked", "expected"),
    [
        (OK, ["find_early", "confirm"], "ok"),
        (Reply(500), ["find_early"], "seen"),
        (Reply(200), ["find_early"], "seen"),
        (Reply(409), ["find_early", "find_start"], Conflict),
        (Reply(429, {"retry-after": "1000"}), ["find_early", "find_start"], Throttled),
    ],
    ids=["confirm", "hidden", "unreadable", "refused", "throttled"],
)
async def test_reply_and_finding_at_once(
    reply: Reply, asked: list[str], expected: str | type[AgentsError], is_reply_first: bool
) -> None:
    """A reply that says more than a finding in the same step wins: a result, and a refusal."""
    held = Held()
    async with Rig(held) as rig:
        search = FakeSearch()
        acts = [lambda: held.reply.set_result(reply), lambda: search.found_early.set_result("seen")]
        ended = await _together(rig, search, *(acts if is_reply_first else reversed(acts)))
        assert search.asked == asked
        if isinstance(expected, str):
            assert ended == expected
            assert_one_run(rig, expected)
        else:
            assert type(ended) is expected
            assert_none(rig)
        rig.assert_idle()


@pytest.mark.parametrize("is_reply_first", [True, False])
async def test_refusal_and_a_search_that_gives_up_at_once(is_reply_first: bool) -> None:
    """A refusal wins over a search that gives up in the same step: nothing began."""
    held = Held()
    async with Rig(held) as rig:
        search = FakeSearch()
        acts = [
            lambda: held.reply.set_result(Reply(409)),
            lambda: search.found_early.set_exception(ReplyLost("enough")),
        ]
        ended = await _together(rig, search, *(acts if is_reply_first else reversed(acts)))
        assert type(ended) is Conflict
        assert search.faults == [(ended, False)]


# ── the caller goes away ────────────────────────────────────────────────────────────────────────────────


async def _leave(task: "asyncio.Task[RunHandle]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()


@pytest.mark.parametrize("phase", ["waiting", "connecting", "between two attempts"])
async def test_cancelled_before_the_first_byte(phase: str) -> None:
    """Cancelled while nothing is in flight, nothing more is sent, emitted or searched for."""
    steps: dict[str, list[Step]] = {
        "waiting": [Held()],
        "connecting": [Held(is_connecting=True)],
        "between two attempts": [Reply(429, {"retry-after": "60"}), OK],
    }
    async with Rig(*steps[phase], limits=ONE) as rig:
        first = await rig.begin(rig.start()) if phase == "waiting" else None
        search = FakeSearch()
        task = await begin(rig, search)
        times = rig.send.times
        await _leave(task)
        await rig.clock.advance(1000)
        assert search.asked == ["find_early"]
        assert search.was_cancelled
        assert rig.send.times == times
        assert rig.emitted(StartAbandoned) == []
        if first is not None:
            first.cancel()
        assert_none(rig)


@pytest.mark.parametrize("is_cancelled_first", [True, False])
@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_as_the_connection_is_made(steps: int, is_cancelled_first: bool) -> None:
    """A start is never sent and forgotten: either no byte leaves any more, or its outcome is emitted."""
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
        search = FakeSearch()
        task = await begin(rig, search)

        def connect_now() -> None:
            if not connected.done():
                connected.set_result(None)

        acts: list[Callable[[], object]] = [connect_now, task.cancel]
        first, second = reversed(acts) if is_cancelled_first else acts
        first()
        for _ in range(steps):
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
async def test_cancelled_in_flight(means: str) -> None:
    """Cancelled later, the search goes on, and the run is emitted as abandoned once it is found."""
    held = Held()
    async with Rig(held, OK) as rig:
        search = FakeSearch()
        search.later = "found"
        task = await begin(rig, search)
        await _leave(task)
        assert rig.emitted(StartAbandoned) == []
        assert not search.was_cancelled
        if means == "sight":
            search.found_early.set_result("found")
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
    """Where the search finds nothing after its caller was cancelled, the outcome of the start is emitted."""
    held = Held()
    async with Rig(held, OK) as rig:
        search = FakeSearch()
        await _leave(await begin(rig, search))
        held.reply.set_result(reply)
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert type(event.error) is error
        assert rig.send.times == 1


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("found", [None, "found"])
async def test_cancelled_during_the_last_search(found: str | None, is_early: bool) -> None:
    """The search after a lost reply goes on without the caller, and its outcome is emitted."""
    async with Rig(ReplyLost("cut")) as rig:
        search = FakeSearch(is_early=is_early)
        search.later = asyncio.get_running_loop().create_future()
        await _leave(await begin(rig, search))
        search.later.set_result(found)
        await settle()
        (event,) = rig.emitted(StartAbandoned)
        assert (event.run is None) is (found is None)
        assert isinstance(event.error, StartUnknown) is (found is None)


@pytest.mark.parametrize("is_early", [True, False])
async def test_cancelled_during_the_search_after_a_refusal(is_early: bool) -> None:
    """A refused start whose caller is cancelled during the last search has ended, and nothing is emitted."""
    async with Rig(Reply(409)) as rig:
        search = FakeSearch(is_early=is_early)
        search.later = asyncio.get_running_loop().create_future()
        await _leave(await begin(rig, search))
        assert search.later.cancelled()
        assert rig.emitted(StartAbandoned) == []


# ── the pool goes away ──────────────────────────────────────────────────────────────────────────────────

_PHASES: dict[str, tuple[Callable[[], Step], type[AgentsError]]] = {
    "waiting": (Held, PoolClosed),
    "connecting": (lambda: Held(is_connecting=True), PoolClosed),
    "between two attempts": (lambda: Reply(429, {"retry-after": "60"}), PoolClosed),
    "out": (Held, StartUnknown),
    "last poll": (lambda: ReplyLost("cut"), StartUnknown),
    "search after a refusal": (lambda: Reply(409), PoolClosed),
    "search after a reply": (lambda: OK, StartUnknown),
}


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("is_awaited", [True, False])
@pytest.mark.parametrize("is_drained", [True, False])
@pytest.mark.parametrize("phase", _PHASES)
async def test_pool_closed_in_each_phase(
    phase: str, is_drained: bool, is_awaited: bool, is_early: bool
) -> None:
    """Closing ends a start in any phase: refused where nothing can have begun, else unknown; always reported."""
    make, error = _PHASES[phase]
    if phase == "search after a reply" and not is_early:
        pytest.skip("a reply is the result where nothing is found early")
    async with Rig(make(), limits=ONE) as rig:
        loop, tasks = asyncio.get_running_loop(), asyncio.all_tasks()
        first = await rig.begin(rig.start()) if phase == "waiting" else None
        search = FakeSearch(is_early=is_early)
        search.later = loop.create_future()
        search.instead["ok"] = loop.create_future()
        task = await begin(rig, search)
        if not is_awaited:
            await _leave(task)
        if is_drained:
            await rig.caller.drain(0.0)
        await rig.supervisor.aclose()
        if first is not None:
            await asyncio.gather(first, return_exceptions=True)
        if is_awaited:
            # Without draining, a permit may be released just before the end is known.
            is_late = phase == "waiting" and not is_drained
            assert type(await outcome(task)) in {error, StartUnknown if is_late else error}
            assert rig.emitted(StartAbandoned) == []
        else:
            causes = [type(event.error) for event in rig.emitted(StartAbandoned)]
            assert causes == ([StartUnknown] if error is StartUnknown else [])
        assert_none(rig)
        await settle()
        assert asyncio.all_tasks() <= tasks
        rig.assert_idle()


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_found_while_draining(is_awaited: bool) -> None:
    """A start that is in flight while the pool drains is still searched for, and found."""
    async with Rig(Held()) as rig:
        search = FakeSearch()
        task = await begin(rig, search)
        if not is_awaited:
            await _leave(task)
        draining = await rig.begin(rig.caller.drain(60.0))
        search.found_early.set_result("seen")
        await settle()
        assert draining.done()
        assert_one_run(rig, "seen")
        assert [event.run is not None for event in rig.emitted(StartAbandoned)] == (
            [] if is_awaited else [True]
        )
        if is_awaited:
            assert await outcome(task) == "seen"


async def test_nothing_is_sent_while_draining() -> None:
    """A start that gets its connection just as the pool begins to drain is not sent any more."""
    for steps in range(6):
        connecting = Held(is_connecting=True)
        async with Rig(connecting) as rig:
            search = FakeSearch()
            task = await begin(rig, search)
            draining = asyncio.ensure_future(rig.caller.drain(0.0))
            connecting.reply.set_result(OK)
            for _ in range(steps):
                await asyncio.sleep(0)
            await draining
            await rig.supervisor.aclose()
            ended = await outcome(task)
            assert ended == "ok" or isinstance(ended, PoolClosed)
            rig.assert_idle()


async def test_task_cancelled_from_outside() -> None:
    """A program that cancels every task it finds leaves no start without an outcome."""
    async with Rig(Held()) as rig:
        search = FakeSearch()
        before = asyncio.all_tasks()
        task = await begin(rig, search)
        for each in asyncio.all_tasks() - before - {task}:
            if "_attempt_and_find_early" in each.get_name():
                each.cancel()
        await settle()
        ended = await outcome(task)
        assert isinstance(ended, StartUnknown)
        assert isinstance(ended.__cause__, ReplyLost)
        assert search.asked == ["find_early"]
        rig.assert_idle()
