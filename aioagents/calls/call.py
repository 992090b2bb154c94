"""One call: signed, let through the account's limits, sent, tried again, and read."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from ..clock import Clock, sleep
from ..errors import AgentsError, DecodeError, ReplyError, Throttled
from ..model import Purpose, Reply, Request, Send, StreamSend, Token
from ..observe import Dispatcher, RateLowered, RequestDone, RetryScheduled, StartAbandoned
from ..retry import RetryPolicy
from ..tasks import Supervisor
from .account import UNSIGNED, Account
from .pending import PendingStart, Start, StartRequest
from .permit import Permit
from .refusals import bad_credentials, read_reply, refusal_of
from .starts import Starts
from .streams import StreamingCall

T = TypeVar("T")

_UNAUTHORIZED: Final = 401


class Caller:
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
        self._send = send
        self._clock = clock
        self._retry = retry
        self._emit = emit
        self._chance = chance
        self.requests = 0
        self.retries = 0
        self._starts = Starts(self, supervisor=supervisor, clock=clock, emit=emit)
        self.token_requests = 0

    async def call(self, account: Account, request: Request, read: Callable[[Reply], T]) -> T:
        """Make a call that may be repeated, and give what `read` makes of the reply, which is a success.

        Passing faults are tried again as the retry policy, the account's budget and the caller's own
        deadline allow; the last error is raised then.
        """
        return read_reply(read, await self.exchange(account, request))

    def poll(self, account: Account, request: Request) -> Coroutine[Any, Any, Reply]:
        """Make such a call with one try, and give the reply: whoever polls plans the next try itself."""
        account.budget.earn()
        return self.send(account, request)

    async def exchange(self, account: Account, request: Request) -> Reply:
        """Make a call that may be repeated and give the reply, which is a success."""
        deadline = anyio.current_effective_deadline()
        account.budget.earn()
        failures = 0
        while True:
            try:
                return await self.send(account, request)
            except AgentsError as error:
                failures += 1
                error.tries = failures
                await self.wait_to_retry(account, request, error, failures=failures, deadline=deadline)

    def start(self, account: Account, start: Start[T]) -> Coroutine[Any, Any, T]:
        """Send what starts a run, once, and give what its `read` makes of the reply.

        Cancelled before the first byte left, nothing is sent; cancelled later, the request goes on and its
        outcome is told to hooks and log as `StartAbandoned`. Raises `StartUnknown` when it cannot be known
        whether a run began, the refusal when it surely did not, and `NotSent`.
        """
        return self._starts.start(account, start)

    def stream(self, account: Account, start: StartRequest) -> StreamingCall:
        """Return what starts a run on entering, and then has its reply read while it arrives.

        It belongs to the task that enters it, not to the pool. Raises TypeError where the pool's `Send` gives none.
        """
        if not isinstance(self._send, StreamSend):
            raise TypeError(f"{type(self._send).__name__} gives no streams")
        return StreamingCall(
            self,
            self._send,
            account,
            start,
            clock=self._clock,
            emit=self._emit,
            accept=partial(self._starts.accept, start),
        )

    @property
    def starts(self) -> int:
        """Count the runs that were accepted."""
        return self._starts.accepted

    async def drain(self, seconds: float) -> None:
        """Wait, for at most so long, until no start is out any more; those that were not sent end at once."""
        await self._starts.drain(seconds)

    def run_inline(
        self, work: Coroutine[Any, Any, None], on_end: Callable[["asyncio.Task[Any]"], object]
    ) -> "asyncio.Task[None]":
        """Do `work` in a task of the pool's, and call `on_end` once it is over.

        It is to be cancelled by nobody: then its starts need no tasks of their own. It ends at the latest with the
        pool; what is out then raises `StartUnknown`. Raises `PoolClosed`.
        """
        return self._starts.run_inline(work, on_end)

    def emit_abandoned(self, event: StartAbandoned) -> None:
        """Tell what became of a start that was waited for, and is of no use to anybody any more."""
        self._emit(event)

    def cancel_unsent(self, callers: Collection[asyncio.Task[Any]]) -> None:
        """Have nothing more sent of the starts that these tasks wait for.

        Those that are not out raise `NotSent`; those that are out go on, and are not sent again if they are refused.
        """
        self._starts.cancel_unsent(callers)

    async def fetch_token(self, vendor: str, request: Request, read: Callable[[Reply], T]) -> T:
        """Ask a token endpoint, trying again after passing faults and after answers that cannot be read.

        Raises `AuthenticationError` for every refusal, and the transport's and decoding errors.
        """
        failures = 0
        while True:
            try:
                self.token_requests += 1
                self.requests += 1
                reply = await self._sender(vendor)(request, headers=UNSIGNED)
                if not reply.is_success:
                    raise refusal_of(vendor, request, reply, utcnow=self._clock.utcnow())
                return read_reply(read, reply)
            except ReplyError as error:
                failures += 1
                if not error.is_passing:
                    raise bad_credentials(error) from error
                await self.wait_to_retry(None, request, error, failures=failures, deadline=math.inf)
            except DecodeError as error:
                # Some gateway's page, most likely, and asking for a token once more starts nothing.
                error.vendor = vendor
                failures += 1
                if failures >= self._retry.attempts:
                    raise
                await sleep(self._clock, self._retry.backoff(failures, chance=self._chance()))
            except AgentsError as error:
                error.vendor = vendor
                failures += 1
                await self.wait_to_retry(None, request, error, failures=failures, deadline=math.inf)

    async def wait_to_retry(
        self,
        account: Account | None,
        request: Request,
        error: AgentsError,
        *,
        failures: int,
        deadline: float,
        is_safe: bool = False,
    ) -> None:
        """Wait until the next try is due; raise `error` when there is to be none.

        What befell the token request was tried again there already. `is_safe` says that repeating this start
        does no harm.
        """
        if error.call and error.call != request.call:
            raise error
        delay = self._retry.delay(
            request, error, failures=failures, chance=self._chance(), left=_left(deadline), is_safe=is_safe
        )
        if delay is None:
            raise error
        if account is not None and not isinstance(error, Throttled):
            is_free = account.budget.spend(self._clock.now())
            if not is_free:
                raise error
        self.retries += 1
        self._emit(
            RetryScheduled(
                vendor=error.vendor, call=request.call, failures=failures, delay=delay, error=error
            )
        )
        await sleep(self._clock, delay)

    async def send(
        self,
        account: Account,
        request: Request,
        pending: PendingStart[Any] | None = None,
        *,
        run_inline: Callable[..., Awaitable[Reply]] | None = None,
    ) -> Reply:
        """Send once within the limits, and once more with a new token after a 401. Raises for a no.

        `carry` sends in place of the pool's own `Send`.
        """
        if (
            request.is_long and run_inline is None
        ):  # a stream sees to its turn itself: it lasts until it is left
            async with account.limiter.long_permits:
                return await self.send(account, request, pending, run_inline=self._sender(account.vendor))
        on_sent = None if pending is None else pending.mark
        is_poll = request.purpose is Purpose.POLL
        is_last = not account.has_tokens
        send = run_inline or self._sender(account.vendor)
        limiter = account.limiter
        while True:
            token = (account.token_nowait() or await account.token()) if account.has_tokens else None
            sent_at = self._clock.now()
            if not limiter.acquire_nowait(sent_at, is_poll=is_poll):
                # Who was refused for an old token goes first: the new one may cease while it waits again.
                is_again = is_last and account.has_tokens
                token = await self._queue_up(account, token, is_poll=is_poll, is_first=is_again)
                sent_at = self._clock.now()
            permit = Permit(limiter, on_sent, is_poll=is_poll) if request.is_long else limiter
            try:
                self.requests += 1
                reply = await send(
                    request if pending is None else pending.signed(request),
                    headers=account.headers if token is None else token.headers,
                    on_sent=permit.sent if isinstance(permit, Permit) else on_sent,
                )
            except Exception as exc:
                _note(exc, account, request, pending)
                raise
            finally:
                permit.release(is_poll=is_poll)
            if reply.status == _UNAUTHORIZED:
                if pending is not None:
                    pending.clear()
                account.judge(token, is_good=False)
                if not (is_last or request.is_spent) and (pending is None or pending.may_resend):
                    is_last = True
                    continue
            elif reply.is_success:
                if token is not account.accepted:
                    account.judge(token, is_good=True)
                limiter.rate_limiter.answered(self._clock.now())
                return reply
            refusal = refusal_of(account.vendor, request, reply, utcnow=self._clock.utcnow())
            self._heed(account, refusal, sent_at)
            try:
                raise refusal
            finally:
                del refusal, reply  # or they would be held by the error's own traceback

    async def _queue_up(
        self, account: Account, token: Token | None, *, is_poll: bool, is_first: bool
    ) -> Token | None:
        """Wait for a place, and give the token that is then good.

        Nobody waits for a token inside the gate: all who did would leave at once when it comes.
        """
        await account.limiter.acquire(is_poll=is_poll, is_first=is_first)
        if token is None or (latest := account.token_nowait()) is not None:
            return None if token is None else latest
        account.limiter.release(is_poll=is_poll)
        token = await account.token()
        await account.limiter.acquire(is_poll=is_poll, is_first=is_first)
        return account.token_nowait() or token

    def _heed(self, account: Account, error: ReplyError, sent_at: float) -> None:
        """Have the account's pace heed what the vendor answered."""
        now = self._clock.now()
        if not isinstance(error, Throttled):
            account.limiter.rate_limiter.answered(now)
            return
        after = error.retry_after
        if after is not None:
            after = min(after, self._retry.patience)  # beyond that, callers are told instead of held
        hold = account.limiter.rate_limiter.refused(now, sent_at=sent_at, retry_after=after)
        if hold is not None:
            per_second = account.limiter.rate_limiter.rate(now)
            self._emit(RateLowered(vendor=account.vendor, per_second=per_second, hold=hold))

    def _sender(self, vendor: str) -> Callable[..., Awaitable[Reply]]:
        """Return what sends: watched only while somebody wants to know of every request."""
        return partial(self._watched, vendor) if self._emit.is_detailed else self._send.send

    async def _watched(
        self,
        vendor: str,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send once, and tell how it went."""
        began_at = self._clock.now()
        status: int | None = None
        fault: AgentsError | None = None
        try:
            reply = await self._send.send(request, headers=headers, on_sent=on_sent)
            status = reply.status
        except AgentsError as error:
            fault = error
            raise
        finally:
            self._emit(
                RequestDone(
                    vendor=vendor,
                    call=request.call,
                    method=request.method,
                    status=status,
                    seconds=self._clock.now() - began_at,
                    error=fault,
                )
            )
        return reply


def _note(exc: Exception, account: Account, request: Request, pending: PendingStart[Any] | None) -> None:
    """Note what is known of a request that was not answered."""
    if isinstance(exc, AgentsError):
        exc.vendor = account.vendor
    elif pending is not None and request.upload is not None:
        pending.clear()  # its source broke, by which the vendor did not get the whole


def _left(deadline: float) -> float:
    """Return the seconds until a deadline of anyio's."""
    return deadline - anyio.current_time() if deadline != math.inf else math.inf
