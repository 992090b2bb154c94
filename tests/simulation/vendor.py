"""A vendor in memory that outlives processes: it begins runs, tells how they stand, issues tokens."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from attrs import define, field

from aioagents import NotSent, RunState
from aioagents.errors import ReplyLost
from aioagents.model import Purpose, Reply, Request

from .checks import Attempt, Checks
from .faults import Faults
from .loop import SimLoop, turns
from .plan import Plan

if TYPE_CHECKING:
    from .life import Life

NAME: Final = "sim"
URL: Final = "https://vendor.test"
PAGE: Final = b"<html>somebody's gateway</html>"
_WORDS: Final = {
    RunState.QUEUED: "queued",
    RunState.RUNNING: "running",
    RunState.PAUSED: "paused",
    RunState.UNKNOWN: "odd",
    RunState.COMPLETED: "completed",
    RunState.FAILED: "failed",
    RunState.ABORTED: "aborted",
}
STATES: Final = {word: state for state, word in _WORDS.items()}
#: What a start is answered with of which nothing begins.
_REFUSALS: Final[Mapping[str, Sequence[int]]] = {
    "start.refused": (400, 404, 422),
    "start.forbidden": (402, 403),
    "start.no_slot": (409,),
    # Where the vendor's facts do not say that nothing was executed, these count as unknown.
    "start.unavailable": (503,),
    "start.error_before": (500, 502),
}
_LONGEST: Final = 300.0
_ENDS: Final = (RunState.COMPLETED,) * 4 + (RunState.FAILED, RunState.ABORTED)


@define(eq=False)
class SimRun:
    """A run at the vendor: what it shows at which time, and when it ends."""

    id: str
    key: str
    begun_at: float
    ends_at: float
    end: RunState
    #: What is seen from which time on, in order.
    phases: list[tuple[float, RunState]]
    webhook: str | None = None

    def state(self, now: float) -> RunState:
        """Return what is seen at a time."""
        if now >= self.ends_at:
            return self.end
        return [state for at, state in self.phases if at <= now][-1]

    def line(self, now: float) -> str:
        """Return what an answer says of it."""
        return f"{self.id} {_WORDS[self.state(now)]}"

    def __str__(self) -> str:
        return self.id


@define(eq=False)
class Parcel:
    """A request on its way, which arrives though nobody waits for it any more."""

    request: Request
    token: str
    reply: "asyncio.Future[Reply]"
    attempt: Attempt | None
    timer: asyncio.TimerHandle | None = field(default=None)


class Vendor:
    """Keeps runs and tokens through all lives of a world."""

    def __init__(self, plan: Plan, faults: Faults, checks: Checks) -> None:
        self.plan = plan
        self.faults = faults
        self.checks = checks
        self.runs: dict[str, SimRun] = {}
        #: Runs by the key of their row, the latest one last.
        self.of_key: dict[str, list[SimRun]] = {}
        self.parcels: dict[Parcel, None] = {}
        self.on_run: Callable[[SimRun], object] = lambda _: None
        self.loop: SimLoop
        self._chance = plan.stream("vendor")
        self._tokens: dict[str, float] = {}
        self._issued = 0

    def begin_life(self, loop: SimLoop) -> None:
        """Go on in another loop."""
        self.loop = loop

    def end_life(self, chance: Random) -> None:
        """Decide what becomes of requests that have left a process which is gone."""
        parcels, self.parcels = list(self.parcels), {}
        for parcel in parcels:
            if chance.random() < 0.5:
                self._answer(parcel.request, parcel.token, parcel.attempt)
            if parcel.attempt is not None:
                parcel.attempt.is_out = False

    # The line

    def delay(self) -> float:
        """Draw the time of half a round trip."""
        latency = self.plan.latency
        return latency * 4 ** self._chance.gauss(0.0, 0.7) if latency else 0.0

    def put(self, request: Request, headers: Mapping[str, str], life: "Life") -> "asyncio.Future[Reply]":
        """Take a request whose first byte leaves, and return what will be its reply."""
        attempt = None
        if request.purpose is Purpose.START:
            assert request.body is not None
            key = request.body.decode().split()[0]
            attempt = Attempt(key, life.number, self.loop.time())
            is_direct = key.startswith("d")
            self.checks.sent(attempt, is_direct=is_direct)
            if not is_direct and all(reader.is_silent for reader in life.readers):
                self.checks.fail("sent after a stop", f"{key} left, and all batches are stopping")
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        parcel = Parcel(request, token, self.loop.create_future(), attempt)
        self.parcels[parcel] = None
        parcel.timer = self.loop.call_outside(self.delay(), self._arrive, parcel)
        return parcel.reply

    def _arrive(self, parcel: Parcel) -> None:
        del self.parcels[parcel]
        kind, attempt, hit = _KINDS[parcel.request.purpose], parcel.attempt, self.faults.hit
        lost = "reply" if hit(f"{kind}.lost_after") or hit(f"{kind}.lost") else ""
        if not lost and hit(f"{kind}.lost_before"):
            lost = "request"
        reply = Reply(0)
        if lost != "request":
            reply = self._answer(parcel.request, parcel.token, attempt)
        if attempt is not None:
            attempt.is_out = False
        self.loop.call_outside(self.delay(), self._deliver, parcel, reply, lost)

    def _deliver(self, parcel: Parcel, reply: Reply, lost: str) -> None:
        future, attempt = parcel.reply, parcel.attempt
        if future.done():
            return
        if lost:
            future.set_exception(ReplyLost(f"the {lost} was lost", call=parcel.request.call))
            return
        if attempt is not None and (
            400 <= reply.status < 500 or (reply.status == 503 and self.plan.is_503_safe)
        ):
            attempt.is_refused = True
        future.set_result(reply)

    # The server

    def _answer(self, request: Request, token: str, attempt: Attempt | None) -> Reply:
        if request.purpose is Purpose.TOKEN:
            return self._issue()
        kind, hit = _KINDS[request.purpose], self.faults.hit
        if self.plan.has_tokens and (
            self._tokens.get(token, 0.0) <= self.loop.time() or hit(f"{kind}.unauthorized")
        ):
            self._tokens.pop(token, None)
            return Reply(401)
        if not self.plan.has_tokens and hit(f"{kind}.unauthorized"):
            return Reply(401)
        if hit(f"{kind}.throttled"):
            after = self._chance.choice((None, "0", "0.5", "3"))
            return Reply(429, {} if after is None else {"retry-after": after})
        if attempt is not None:
            return self._start(request, attempt)
        answer = {"runs.list": self._list, "runs.find": self._find}.get(request.call, self._status)
        return answer(request)

    def _issue(self) -> Reply:
        hit = self.faults.hit
        if hit("token.error"):
            return Reply(500)
        if hit("token.garbled"):
            return Reply(200, {}, PAGE)
        lifetime = 5.0 if hit("token.short") else self.plan.token_life
        self._issued += 1
        token = f"t{self._issued}"
        # Longer than it says, or one that is used at the last moment would be refused on a slow line.
        lives = lifetime * self._chance.random() if hit("token.revoked") else lifetime + 100.0
        self._tokens[token] = self.loop.time() + lives
        return Reply(200, {}, f"{token} {lifetime}".encode())

    def _start(self, request: Request, attempt: Attempt) -> Reply:
        hit = self.faults.hit
        for name, statuses in _REFUSALS.items():
            if hit(name):
                return Reply(self._chance.choice(statuses))
        run = self._begin(attempt.key, request)
        attempt.run = run
        self.checks.accepted(attempt)
        self.on_run(run)
        if hit("start.error_after"):
            return Reply(self._chance.choice((500, 502, 504)))
        if hit("start.garbled"):
            return Reply(200, {}, PAGE)
        return Reply(200, {}, run.line(self.loop.time()).encode())

    def _begin(self, key: str, request: Request) -> SimRun:
        name = f"r{len(self.runs) + 1}"
        chance, now = self.plan.stream(f"run {name}"), self.loop.time()
        lasts = min(self.plan.lasts * 4 ** chance.gauss(0.0, 0.7), _LONGEST)
        between = (RunState.RUNNING, RunState.RUNNING, RunState.PAUSED, RunState.UNKNOWN)
        phases = [(now, RunState.QUEUED)]
        phases += sorted(
            ((now + lasts * chance.random(), chance.choice(between)) for _ in range(chance.randrange(3))),
            key=lambda phase: phase[0],
        )
        words = (request.body or b"").decode().split()
        webhook = words[1] if len(words) > 1 else None
        end = chance.choice(_ENDS)
        if chance.random() < self.plan.over_at_once:
            lasts = 0.0
        run = SimRun(name, key, now, now + lasts, end, phases, webhook)
        self.runs[name] = run
        self.of_key.setdefault(key, []).append(run)
        return run

    def _status(self, request: Request) -> Reply:
        hit, now = self.faults.hit, self.loop.time()
        if hit("poll.error"):
            return Reply(self._chance.choice((500, 503)))
        if hit("poll.gone"):
            return Reply(self._chance.choice((403, 404)))
        if hit("poll.garbled"):
            return Reply(200, {}, PAGE)
        run = self.runs.get(request.url.rpartition("/")[2])
        if run is None:
            return Reply(404)
        seen_at = max(run.begun_at, now - 5.0) if hit("poll.stale") else now
        return Reply(200, {}, run.line(seen_at).encode())

    def _find(self, request: Request) -> Reply:
        """Answer with the run that a row's start began at a time or later, or with nothing."""
        if self.faults.hit("poll.error"):
            return Reply(500)
        if self.faults.hit("poll.garbled"):
            return Reply(200, {}, PAGE)
        key, _, since = request.url.rpartition("?key=")[2].partition("&since=")
        found = [run for run in self.of_key.get(key, ()) if run.begun_at >= float(since)]
        return Reply(200, {}, found[-1].line(self.loop.time()).encode() if found else b"")

    def _list(self, request: Request) -> Reply:
        hit, now = self.faults.hit, self.loop.time()
        if hit("poll.error"):
            return Reply(500)
        if hit("poll.gone"):
            return Reply(403)
        if hit("poll.garbled"):
            return Reply(200, {}, PAGE)
        ids = request.url.rpartition("=")[2].split(",")
        if hit("list.empty"):
            ids = []
        elif hit("list.partial"):
            ids = [each for each in ids if self._chance.random() < 0.6]
        runs = [self.runs[each].line(now) for each in ids if each in self.runs]
        return Reply(200, {}, "\n".join(runs).encode())


_KINDS: Final = {Purpose.START: "start", Purpose.POLL: "poll", Purpose.CALL: "poll", Purpose.TOKEN: "token"}


class SimSend:
    """Carries the requests of one process to the vendor."""

    def __init__(self, vendor: Vendor, life: "Life", chance: Random) -> None:
        self._vendor = vendor
        self._life = life
        self._chance = chance

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send once, slowly or not at all."""
        traffic = self._life.traffic
        traffic.begins(request)
        try:
            reply = await self._send(request, headers, on_sent)
        finally:
            traffic.ends(request)
        traffic.replied(request, headers, reply)
        return reply

    async def _send(
        self, request: Request, headers: Mapping[str, str], on_sent: Callable[[], None] | None
    ) -> Reply:
        plan, vendor = self._vendor.plan, self._vendor
        await turns(self._chance.randint(0, plan.turns))
        if vendor.faults.hit(f"{_KINDS[request.purpose]}.not_sent"):
            await asyncio.sleep(vendor.delay())
            raise NotSent("the connection was refused", call=request.call)
        if on_sent is not None:
            on_sent()
        reply = await vendor.put(request, headers, self._life)
        await turns(self._chance.randint(0, plan.turns))
        return reply
