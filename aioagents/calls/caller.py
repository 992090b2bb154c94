"""Makes calls: sent, retried, and read."""

import asyncio
import math
import random
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, TypeVar

import anyio

from ..clock import Clock
from ..errors import AgentsError
from ..model import Reply, Request, Send, StreamSend
from ..observe import Dispatcher, StartAbandoned
from ..retry import RetryPolicy
from ..tasks import Supervisor
from .account import UNSIGNED, Account
from .pending import Start, StartRequest
from .reply_errors import (
    ReadRefusal,
    note_unreadable,
    read_any_refusal,
    refusal_of_token,
)
from .sender import RequestSender
from .starts import Starts
from .streams import StreamingCall

T = TypeVar("T")


class Caller(RequestSender):
    """Makes the calls of one pool."""

    def __init__(
        self,
        send: Send,
        *,
        supervisor: Supervisor,
        clock: Clock,
        retry: RetryPolicy,
        emit: Dispatcher,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(send, clock=clock, retry=retry, emit=emit, chance=chance)
        self._starts = Starts(self, supervisor=supervisor, clock=clock, emit=emit)
        #: How many requests were sent to token endpoints.
        self.token_requests = 0
        self._token_urls: set[str] = set()  # of those that gave a token

    async def call(self, account: Account, request: Request, read: Callable[[Reply], T]) -> T:
        """Make a call that may be repeated, and return what `read` makes of its 2xx reply.

        Passing errors are retried as the retry policy, the account's retry budget and the caller's own deadline
        allow, pages that are not the vendor's too; then the last error is raised.
        """
        deadline = anyio.current_effective_deadline()
        account.budget.earn()
        failures, since = 0, None
        while True:
            try:
                return account.read(request, await self.send(account, request), read)
            except AgentsError as error:
                failures += 1
                error.tries = failures
                since = self._clock.now() if since is None else since
                await self.wait_to_retry(
                    account, request, error, failures=failures, deadline=deadline, since=since
                )

    def poll(self, account: Account, request: Request) -> Coroutine[Any, Any, Reply]:
        """Make a call that may be repeated, once, and return its 2xx reply; the poller schedules retries itself."""
        account.budget.earn()
        return self.send(account, request)

    def start(self, account: Account, start: Start[T]) -> Coroutine[Any, Any, T]:
        """Send what starts a run, once, and return what its `read` makes of the reply.

        Cancelled before the first byte left, nothing is sent. Cancelled later, the request goes on, and its outcome
        is emitted as `StartAbandoned`. Raises `StartUnknown` when it cannot be known whether a run began, and the
        refusal or `NotSent` when none did.
        """
        return self._starts.start(account, start)

    def stream(self, account: Account, start: StartRequest) -> StreamingCall:
        """Return a context manager that sends `start` on entering and whose reply is read while it arrives.

        It belongs to the task that enters it, not to the pool. Raises TypeError where the pool's `Send` cannot
        stream.
        """
        if not isinstance(self._send, StreamSend):
            raise TypeError(f"{type(self._send).__name__} cannot stream replies")
        return StreamingCall(
            self,
            self._send,
            account,
            start,
            clock=self._clock,
            emit=self._emit,
            count_accepted=partial(self._starts.count_accepted, start),
        )

    @property
    def starts(self) -> int:
        """Count the runs that were accepted."""
        return self._starts.accepted

    async def drain(self, seconds: float) -> None:
        """Cancel the starts that are unsent, and wait for at most `seconds` until none is in flight."""
        await self._starts.drain(seconds)

    def run_inline(
        self, work: Coroutine[Any, Any, None], on_end: Callable[["asyncio.Task[Any]"], object]
    ) -> "asyncio.Task[None]":
        """Run `work` in a task of the pool, whose starts are inline starts; call `on_end` once it has ended.

        Nobody but the pool may cancel that task: this is why its starts need no tasks of their own. It ends with the
        pool at the latest; a start that is in flight then raises `StartUnknown`. Raises `PoolClosed`.
        """
        return self._starts.run_inline(work, on_end)

    def emit_abandoned(self, event: StartAbandoned) -> None:
        """Emit the outcome of a start that was waited for, but that nobody can use any more."""
        self._emit(event)

    def cancel_unsent(self, waiters: Collection[asyncio.Task[Any]]) -> None:
        """Send nothing more of the starts that these tasks wait for.

        Those that are unsent raise `NotSent`; those that are in flight go on, and are not sent again if refused.
        """
        self._starts.cancel_unsent(waiters)

    async def fetch_token(
        self,
        vendor: str,
        request: Request,
        read: Callable[[Reply], T],
        *,
        read_refusal: ReadRefusal = read_any_refusal,
    ) -> T:
        """Send a token request, and retry it after passing errors and after replies that cannot be read.

        Raises `AuthenticationError` where the credentials are refused: by 401, by an OAuth error code that means it,
        and by any refusal of an endpoint that never answered otherwise. Other refusals of one that did may be a
        gateway's: they pass, as its pages do. Raises these, and the errors of transport and decoding, in the end.
        """
        failures, since = 0, None
        while True:
            try:
                return await self._ask_for_token(vendor, request, read, read_refusal)
            except AgentsError as error:
                error.vendor = vendor
                failures += 1
                since = self._clock.now() if since is None else since
                await self.wait_to_retry(
                    None, request, error, failures=failures, deadline=math.inf, since=since
                )

    async def _ask_for_token(
        self, vendor: str, request: Request, read: Callable[[Reply], T], read_refusal: ReadRefusal
    ) -> T:
        """Send a token request once, and return what `read` makes of the reply."""
        is_known = request.url in self._token_urls
        self.token_requests += 1
        self.requests += 1
        reply = await self._send_function(vendor)(request, headers=UNSIGNED)
        if not reply.is_success:
            raise refusal_of_token(
                vendor,
                request,
                reply,
                utcnow=self._clock.utcnow(),
                read_refusal=read_refusal,
                is_known=is_known,
            )
        try:
            token = read(reply)
        except Exception as error:
            note_unreadable(error, request, reply, is_known=is_known, passes=True)
            raise
        self._token_urls.add(request.url)
        return token
