"""A client of the vendor in memory, written as the real ones are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from aioagents import Run, RunHandle, RunRef, SessionPool
from aioagents.batch import BatchRow
from aioagents.calls import PendingStart, Start
from aioagents.contract import Endpoint, RunClient, RunReader, WebhookRegistration, check_ref
from aioagents.errors import AgentsError, Conflict, DecodeError
from aioagents.model import Purpose, Reply, Request
from aioagents.polling import Hinted
from aioagents.webhooks import WebhookReceiver

from .vendor import NAME, STATES, URL

if TYPE_CHECKING:
    from datetime import datetime

    from .life import Life


def _read_line(line: str, call: str) -> tuple[str, str]:
    name, _, word = line.partition(" ")
    if word not in STATES:
        raise DecodeError("this is no run", vendor=NAME, call=call)
    return name, word


def _read_run(reply: Reply, ref: RunRef, at: "datetime") -> Run:
    name, word = _read_line(reply.body.decode(), "runs.get")
    if name != ref.id:
        raise DecodeError("this is another run", vendor=NAME, call="runs.get")
    return _run(ref, word, at)


def _run(ref: RunRef, word: str, at: "datetime") -> Run:
    state = STATES[word]
    error = "no tea" if word == "failed" else None
    return Run(
        ref=ref,
        state=state,
        status=word,
        seen_at=at,
        error=error,
        output={"ok": 1} if word == "completed" else None,
    )


class SingleReader(RunReader):
    """Reads one run with one request; it is seen which of these the scheduler makes."""

    def __init__(self, pool: SessionPool, client: "SimClient") -> None:
        super().__init__(pool, client.account, request=client.get_request, read=_read_run)
        self._client = client

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:
        """Read a run."""
        return await self._client.life.polls.one(ref.id, super().poll(ref, age=age, last=last))


class ListingReader(SingleReader):
    """Reads many runs with one request."""

    page_size = 1000

    def group_of(self, run: Run) -> str | None:
        """Put runs into two lists; some stand in none."""
        number = int(run.ref.id[1:]) % 5
        return None if number == 0 else f"list {number % 2}"

    async def poll_many(self, group: str, runs: Sequence[Run]) -> Mapping[RunRef, Run]:
        """Read a list."""
        ids = ",".join(run.ref.id for run in runs)
        request = Request(method="GET", url=f"{URL}/runs?ids={ids}", call="runs.list", purpose=Purpose.POLL)
        work = self._client.pool.caller.poll(self._client.account, request)
        reply = await self._client.life.polls.many(runs, work)
        found = {}
        at = self._client.pool.clock.utcnow()
        for line in reply.body.decode().splitlines():
            name, word = _read_line(line, "runs.list")
            ref = RunRef(NAME, "", name)
            found[ref] = _run(ref, word, at)
        return found


class SimClient(RunClient):
    """Starts and follows runs."""

    vendor: ClassVar[str] = NAME

    def __init__(self, pool: SessionPool, life: "Life", receiver: WebhookReceiver | None) -> None:
        super().__init__(pool)
        self.life = life
        self._plan = life.plan
        self._receiver = receiver
        fetch = self._fetch if self._plan.has_tokens else None
        headers = None if self._plan.has_tokens else {"X-Key": "key"}
        self.account = pool.account(NAME, name=NAME, vendor=NAME, headers=headers, fetch=fetch)
        kind = ListingReader if self._plan.has_lists else SingleReader
        self._source = pool.source(NAME, kind(pool, self), NAME)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Raise NotImplementedError: worlds make their clients by hand."""
        raise NotImplementedError

    async def check(self) -> None:
        """Find all well."""

    async def _fetch(self) -> tuple[str, float]:
        request = Request(method="POST", url=f"{URL}/token", call="token", purpose=Purpose.TOKEN)

        def read(reply: Reply) -> tuple[str, float]:
            value, _, lifetime = reply.body.decode().partition(" ")
            try:
                return value, float(lifetime)
            except ValueError:
                raise DecodeError("this is no token", vendor=NAME, call="token") from None

        return await self.pool.caller.fetch_token(NAME, request, read)

    def get_request(self, ref: RunRef) -> Request:
        """Build the GET of a run."""
        return Request(method="GET", url=f"{URL}/runs/{ref.id}", call="runs.get", purpose=Purpose.POLL)

    async def start_row(self, row: BatchRow) -> RunHandle | Run:
        """Start a row."""
        self.life.traffic.start_called(row)
        self.pool.ensure_open()
        if self.life.faults.hit("start.foreign"):
            raise RuntimeError("the client is broken")
        with WebhookRegistration.to(self._receiver) as registration:
            body = row.key if registration.url is None else f"{row.key} {registration.url}"
            request = Request(
                method="POST",
                url=f"{URL}/runs",
                call="runs.start",
                purpose=Purpose.START,
                body=body.encode(),
                refused_by=frozenset({503}) if self._plan.is_503_safe else frozenset(),
            )

            def read(reply: Reply) -> RunHandle | Run:
                return begun(*_read_line(reply.body.decode(), "runs.start"))

            async def find_start(pending: PendingStart[Any], _: AgentsError) -> RunHandle | Run | None:
                if not pending.is_sent:
                    return None
                found = await self._find(row.key, pending.in_flight_since)
                return None if found is None else begun(*found)

            def begun(name: str, word: str) -> RunHandle | Run:
                clock = self.pool.clock
                ref = RunRef(NAME, "", name)
                run = _run(ref, word, clock.utcnow())
                self.life.traffic.starts += 1
                answers = "handles" if registration.url is not None else self._plan.answers
                if answers == "runs" or (answers == "ended runs" and run.state.is_terminal):
                    return run
                return registration.handle(
                    self._source, ref, target=ref.id, accepted=run, begun_at=clock.now()
                )

            start = Start(
                vendor=NAME,
                request=request,
                read=read,
                target=row.target,
                advice="Look there.",
                find_start=find_start if self._plan.finds_starts else None,
            )
            return await self.pool.caller.start(self.account, start)

    async def _find(self, key: str, since: float | None) -> tuple[str, str] | None:
        """Look up the run that a start of a row began."""
        request = Request(method="GET", url=f"{URL}/runs?key={key}&since={since!r}", call="runs.find")

        def read(reply: Reply) -> tuple[str, str] | None:
            return _read_line(reply.body.decode(), "runs.find") if reply.body else None

        return await self.pool.caller.call(self.account, request, read)

    def retry_delay(self, error: AgentsError, failures: int) -> float | None:
        """Come back later where there was no slot."""
        return min(0.5 * 2 ** min(failures, 5), 8.0) if isinstance(error, Conflict) else None

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run."""
        parsed = check_ref(ref, Endpoint(NAME, ""))
        return RunHandle(self._source, parsed, target=parsed.id)
