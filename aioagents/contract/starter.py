"""Starting a run as most vendors allow it: one POST, and a function that reads the run in its answer."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..calls import Account, PendingStart, Start
from ..errors import AgentsError
from ..model import Reply, Request, Run
from ..polling import RunHandle, ScheduledSource
from ..pool import SessionPool
from .push import WebhookRegistration


class RunStarter:
    """Starts the runs of one account. `advice` says how to find out later what a start began whose reply was lost."""

    def __init__(self, pool: SessionPool, account: Account, source: ScheduledSource, *, advice: str) -> None:
        self._pool = pool
        self._account = account
        self._source = source
        self._advice = advice

    def start(
        self,
        request: Request,
        read: Callable[[Reply, datetime], Run],
        *,
        target: str,
        kind: str | None = None,
        registration: WebhookRegistration | None = None,
        redacted_body: bytes | None = None,
        find: Callable[[], Awaitable[Run | None]] | None = None,
    ) -> Coroutine[Any, Any, RunHandle]:
        """Send `request`, once, and return the handle of the run that `read` finds in the answer at that time.

        `kind` is what durations are learned for, the `target` by default; deliveries to the `registration` wake the
        handle, and `redacted_body` is shown in errors for a body with a secret. `find` looks up the run where one may
        have begun and no reply names it, and returns None if it finds none or cannot choose among several; an
        `AgentsError` that it raises means the same. Raises as `Caller.start`, and `PoolClosed`.
        """
        pool, source = self._pool, self._source
        pool.ensure_open()

        def handle_of(run: Run) -> RunHandle:
            make = RunHandle if registration is None else registration.handle
            learned = target if kind is None else kind
            return make(source, run.ref, target=learned, accepted=run, begun_at=pool.clock.now())

        async def find_start(pending: PendingStart[RunHandle], _: AgentsError) -> RunHandle | None:
            run = None
            if find is not None and pending.is_sent:
                with suppress(AgentsError):  # of the look-up: of the start nothing more is known than before
                    run = await find()
            return None if run is None else handle_of(run)

        start = Start(
            vendor=self._account.vendor,
            request=request,
            read=lambda reply: handle_of(read(reply, pool.clock.utcnow())),
            target=target,
            advice=self._advice,
            redacted_body=redacted_body,
            find_start=None if find is None else find_start,
        )
        return pool.caller.start(self._account, start)
