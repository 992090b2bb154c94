"""AGH Runtime: read runs to their real end, one by one, or many of one job by one list.

The record of a delegated run never changes again: from then on its task run is read (AGH automation API, section 8).
Whether a failed run is retried depends on its owner's retry policy, which is read when it is needed and cached for a
minute (section 7).
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import attrs

from ...contract import GRACE, with_hint
from ...errors import AgentsError, NotFound
from ...model import Purpose, Reply, Request, Run, RunRef
from ...polling import Hinted
from .calls import Calls
from .finality import is_delegated, needs_policy, run_from_record, seconds_until_final
from .records import AutomationRun, read_run
from .times import write_moment
from .values import Retry
from .wire import get_request, item_url, job_in, list_request, runs_in, task_run_in, this_run_in, trigger_in

_POLICY_KEPT: Final = 60.0  # seconds
_POLICIES: Final = 1000
_SPARE: Final = 50  # records that a list may hold besides those that are wanted
_GET: Final = "runs.get"
_TASK_RUN: Final = "task-runs.get"
_DELEGATED: Final = "delegated"

#: Makes one request, with one attempt or several, and returns what is read from the reply.
Ask = Callable[[Request, Callable[[Reply], Any]], Awaitable[Any]]


class AghReader:
    """Reads the runs of one runtime."""

    #: The server pages nothing, and returns as many records as are asked for; these are about a megabyte.
    page_size: Final = 500

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._pool = calls.pool
        self._account = calls.account
        self._policies: OrderedDict[tuple[str, str], tuple[float, Retry | None]] = OrderedDict()

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:
        """Read a run, with one attempt for each of the requests that it takes."""
        return await self._read(ref, age, last, self._ask_once)

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:
        """Read a run, with retries after passing errors."""
        self._pool.ensure_open()
        return await self._read(ref, age, last, self._ask)

    def may_retry(self) -> bool:
        """Spend one retry of the account's budget; False where none is left."""
        return self._account.budget.spend(self._pool.clock.now())

    def group_of(self, run: Run) -> str | None:
        """Return which list has the run: its job's or its trigger's. None for a task run, which is in no list."""
        record = _record_in(run)
        if record is None or record.get("status") == _DELEGATED or run.created_at is None:
            return None
        for name in ("job_id", "trigger_id"):
            if isinstance(record.get(name), str) and record[name]:
                return f"{name}={record[name]}"
        return None

    async def poll_many(
        self, group: str, runs: Sequence[Run]
    ) -> Mapping[RunRef, Run] | Hinted[Mapping[RunRef, Run]]:
        """Read runs of one job or trigger by one list of the time in which they began.

        Runs that ended are listed as well. Left out are delegated ones, whose end is in their task run, failed ones
        if their owner's retry policy cannot be read now, and the oldest ones if others began too many in between.
        """
        name, _, owner = group.partition("=")
        begun = [run.created_at for run in runs if run.created_at is not None]
        query = {
            name: owner,
            "since": write_moment(min(begun), "since"),
            # Our times are truncated to microseconds, the server's are not.
            "until": write_moment(max(begun) + timedelta(microseconds=1), "until"),
            "limit": str(2 * len(runs) + _SPARE),
        }
        request = _poll(list_request(self._calls.url("runs"), "runs.list", query))
        reply = await self._pool.caller.poll(self._account, request)
        records = self._account.read(request, reply, lambda reply: runs_in(reply, request.call))
        now = self._server_now(reply)
        wanted = {run.ref.id: run.ref for run in runs}
        found: dict[RunRef, Run] = {}
        has_policy = True
        for record in records:
            ref = wanted.get(record.id)
            # The record of a delegated run does not have its end.
            if ref is None or is_delegated(record) or (needs_policy(record) and not has_policy):
                continue
            try:
                found[ref] = await self._to_run(ref, record, now, self._ask_once)
            except AgentsError:  # reading the policy failed, which is the same for all of them
                has_policy = False
        return with_hint(found, reply, utcnow=self._pool.clock.utcnow())

    async def _read(self, ref: RunRef, age: float | None, last: Run | None, ask: Ask) -> Run | Hinted[Run]:
        try:
            if (known := self._delegated_in(last)) is not None:
                return await self._read_delegated(ref, known, ask)
            record, reply = await self._read_record(ref, ask)
            if is_delegated(record):
                return await self._read_delegated(ref, record, ask)
            run = await self._to_run(ref, record, self._server_now(reply), ask)
            return with_hint(run, reply, utcnow=run.seen_at)
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise

    def _delegated_in(self, last: Run | None) -> AutomationRun | None:
        """Return the record that a run was made from, if it was delegated: then it never changes again."""
        raw = _record_in(last)
        if raw is None or raw.get("status") != _DELEGATED or not raw.get("task_run_id"):
            return None
        return read_run(raw, call=_GET)

    async def _read_record(self, ref: RunRef, ask: Ask) -> tuple[AutomationRun, Reply]:
        request = _poll(get_request(item_url(self._calls.url("runs"), ref.id, "run_id"), _GET))
        found: tuple[AutomationRun, Reply] = await ask(
            request, lambda reply: (this_run_in(reply, ref.id, _GET), reply)
        )
        return found

    async def _read_delegated(self, ref: RunRef, record: AutomationRun, ask: Ask) -> Run | Hinted[Run]:
        """Read the task run to which a run was delegated."""
        url = item_url(f"{self._calls.base_url}/api/task-runs", record.task_run_id, "task_run_id")
        request = _poll(get_request(url, _TASK_RUN))
        (task_run, task), reply = await ask(
            request, lambda reply: (task_run_in(reply, record.task_run_id, _TASK_RUN), reply)
        )
        now = self._pool.clock.utcnow()
        run = run_from_record(record, ref, now, task_run=task_run, task=task)
        return with_hint(run, reply, utcnow=now)

    async def _to_run(self, ref: RunRef, record: AutomationRun, now: datetime, ask: Ask) -> Run:
        """Return the run of a record that was not delegated; its owner's retry policy is read where it is needed."""
        seen_at = self._pool.clock.utcnow()
        if not needs_policy(record):
            return run_from_record(record, ref, seen_at)
        retry = await self._policy(record, ask)
        return run_from_record(record, ref, seen_at, is_final=not seconds_until_final(record, retry, now))

    async def _policy(self, record: AutomationRun, ask: Ask) -> Retry | None:
        """Return the retry policy of the run's owner; None when the owner was deleted."""
        resource, owner = ("jobs", record.job_id) if record.job_id else ("triggers", record.trigger_id)
        now = self._pool.clock.now()
        kept = self._policies.get((resource, owner))
        if kept is not None and now - kept[0] < _POLICY_KEPT:
            return kept[1]
        call = f"{resource}.get"
        request = _poll(get_request(self._calls.item(resource, owner), call))
        try:
            read = job_in if record.job_id else trigger_in
            retry: Retry | None = (await ask(request, lambda reply: read(reply, call))).retry
        except NotFound:
            retry = None
        self._policies[(resource, owner)] = (now, retry)
        while len(self._policies) > _POLICIES:
            self._policies.popitem(last=False)
        return retry

    async def _ask_once(self, request: Request, read: Callable[[Reply], Any]) -> Any:
        return self._account.read(
            request, await self._pool.caller.poll(self._account, request), read, passes=True
        )

    async def _ask(self, request: Request, read: Callable[[Reply], Any]) -> Any:
        return await self._pool.caller.call(self._calls.account, request, read)

    def _server_now(self, reply: Reply) -> datetime:
        """Return the server's time, to compare with its own dates; ours where the reply has none."""
        try:
            now = parsedate_to_datetime(reply.headers.get("date", ""))
        except (ValueError, TypeError, IndexError):
            return self._pool.clock.utcnow()
        return now if now.tzinfo is not None else now.replace(tzinfo=UTC)


def _poll(request: Request) -> Request:
    return attrs.evolve(request, purpose=Purpose.POLL)


def _record_in(run: Run | None) -> Mapping[str, Any] | None:
    """Return the automation record that a run was made from."""
    record = run.raw.get("run") if run is not None and isinstance(run.raw, Mapping) else None
    return record if isinstance(record, Mapping) else None
