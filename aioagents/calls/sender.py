"""Sends one request: signed, within the account's limits, and again with a new token after a 401."""

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import anyio

from ..clock import Clock, sleep
from ..errors import AgentsError, ReplyError, Throttled
from ..model import Purpose, Reply, Request, Send, Token
from ..observe import Dispatcher, RateLowered, RequestDone, RetryScheduled
from ..retry import RetryPolicy
from ..transport import LongRequestPermit
from .account import Account
from .pending import PendingStart

_UNAUTHORIZED: Final = 401


class RequestSender:
    """Sends the requests of one pool, and waits before they are retried."""

    def __init__(
        self,
        send: Send,
        *,
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
        #: How many requests were sent.
        self.requests = 0
        #: How many of them were sent again after an error.
        self.retries = 0

    async def send(
        self,
        account: Account,
        request: Request,
        pending: PendingStart[Any] | None = None,
        *,
        via: Callable[..., Awaitable[Reply]] | None = None,
    ) -> Reply:
        """Send once within the account's limits, and once more with a new token after a 401.

        Return a 2xx reply. Raises the `ReplyError` of any other status, and whatever sending raises. `via` sends in
        place of the pool's own `Send`.
        """
        if (
            request.is_long and via is None
        ):  # a stream takes this permit itself, and holds it until it is left
            async with account.limiter.long_permits:
                return await self.send(account, request, pending, via=self._send_function(account.vendor))
        on_sent = None if pending is None else pending.note_sent
        is_poll = request.purpose is Purpose.POLL
        is_last = not account.has_tokens
        send = via or self._send_function(account.vendor)
        limiter = account.limiter
        while True:
            token = (
                (account.token_nowait() or await account.token(is_poll=is_poll))
                if account.has_tokens
                else None
            )
            sent_at = self._clock.now()
            if not limiter.acquire_nowait(sent_at, is_poll=is_poll):
                # A request that was refused for an old token goes first: the new one may expire while it waits again.
                is_again = is_last and account.has_tokens
                token = await self._acquire_permit(account, token, is_poll=is_poll, is_first=is_again)
                sent_at = self._clock.now()
            permit = LongRequestPermit(limiter, on_sent, is_poll=is_poll) if request.is_long else limiter
            headers = account.headers if token is None else token.headers
            try:
                self.requests += 1
                signed = request if pending is None else pending.sign(request)
                reply = await send(
                    signed,
                    headers=headers,
                    on_sent=permit.note_sent if isinstance(permit, LongRequestPermit) else on_sent,
                )
            except Exception as exc:
                _note_failure(exc, account, request, pending)
                raise
            finally:
                permit.release(is_poll=is_poll)
            if reply.status == _UNAUTHORIZED:
                # Nothing began. Drop the token, and send once more with a new one; a second 401 is final.
                if pending is not None:
                    pending.note_refused()
                account.report_token(token, is_accepted=False)
                if not (is_last or request.is_spent) and (pending is None or pending.may_resend):
                    is_last = True
                    continue
            elif reply.is_success:
                if token is not account.accepted:
                    account.report_token(token, is_accepted=True)
                limiter.rate_limiter.note_answer(self._clock.now())
                return reply
            error = account.refusal(
                signed,
                reply,
                utcnow=self._clock.utcnow(),
                headers=headers,
                shown_body=None if pending is None else pending.start.redacted_body,
            )
            self._adjust_rate(account, error, sent_at)
            try:
                raise error
            finally:
                del error, reply  # or the error's own traceback would keep them alive

    async def _acquire_permit(
        self, account: Account, token: Token | None, *, is_poll: bool, is_first: bool
    ) -> Token | None:
        """Wait for a permit; return the token that is valid then.

        Nobody waits for a token while holding a permit: all who did would send at once when it arrives.
        """
        await account.limiter.acquire(is_poll=is_poll, is_first=is_first)
        if token is None or (latest := account.token_nowait()) is not None:
            return None if token is None else latest
        account.limiter.release(is_poll=is_poll)
        token = await account.token(is_poll=is_poll)
        await account.limiter.acquire(is_poll=is_poll, is_first=is_first)
        return account.token_nowait() or token

    def _adjust_rate(self, account: Account, error: ReplyError, sent_at: float) -> None:
        """Lower the account's rate after a 429; count any other answer as one."""
        now = self._clock.now()
        if not isinstance(error, Throttled):
            account.limiter.rate_limiter.note_answer(now)
            return
        after = error.retry_after
        if after is not None:
            after = min(after, self._retry.patience)  # callers get an error where the vendor asks for more
        hold = account.limiter.rate_limiter.note_throttled(now, sent_at=sent_at, retry_after=after)
        if hold is not None:
            per_second = account.limiter.rate_limiter.rate(now)
            self._emit(RateLowered(vendor=account.vendor, per_second=per_second, hold=hold))

    async def wait_to_retry(
        self,
        account: Account | None,
        request: Request,
        error: AgentsError,
        *,
        failures: int,
        deadline: float,
        is_safe: bool = False,
        since: float | None = None,
    ) -> None:
        """Wait until `request` is due to be sent again. Raises `error` where it must not be, or would be too late.

        `RetryPolicy.delay` decides that, and then the account's retry budget. `is_safe` says that repeating this
        start does no harm. `since` is when the first attempt failed, None where each of them counts.
        """
        if error.call and error.call != request.call:
            raise error  # of a token request, which was retried already
        delay = self._retry.delay(
            request,
            error,
            failures=failures,
            chance=self._chance(),
            left=_seconds_left(deadline),
            is_safe=is_safe,
            elapsed=None if since is None else self._clock.now() - since,
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

    def _send_function(self, vendor: str) -> Callable[..., Awaitable[Reply]]:
        """Return what sends a request; it emits events only while somebody wants one for every request."""
        return partial(self._send_and_emit, vendor) if self._emit.is_detailed else self._send.send

    async def _send_and_emit(
        self,
        vendor: str,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send once, and emit `RequestDone`."""
        began_at = self._clock.now()
        status: int | None = None
        failure: AgentsError | None = None
        try:
            reply = await self._send.send(request, headers=headers, on_sent=on_sent)
            status = reply.status
        except AgentsError as error:
            failure = error
            raise
        finally:
            self._emit(
                RequestDone(
                    vendor=vendor,
                    call=request.call,
                    method=request.method,
                    status=status,
                    seconds=self._clock.now() - began_at,
                    error=failure,
                )
            )
        return reply


def _note_failure(
    exc: Exception, account: Account, request: Request, pending: PendingStart[Any] | None
) -> None:
    """Record what is known of a request that got no reply."""
    if isinstance(exc, AgentsError):
        exc.vendor = account.vendor
    elif pending is not None and request.upload is not None:
        pending.note_refused()  # reading the upload failed, so the vendor did not get the whole body


def _seconds_left(deadline: float) -> float:
    """Return the seconds until a deadline on anyio's clock."""
    return deadline - anyio.current_time() if deadline != math.inf else math.inf
