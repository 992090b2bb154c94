"""Starts whose reply is read while it arrives. Each belongs to the task that asked for it, and ends with it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

import anyio
import anyio.lowlevel
import attrs

from ..clock import Clock
from ..errors import AgentsError, DecodeError, ReplyLost, StartUnknown
from ..model import Reply, Request, Run, StreamedReply, StreamSend
from ..observe import Dispatcher, RequestDone, RunStarted
from ..retry import is_outcome_unknown
from .account import Account
from .pending import PendingStart, StartRequest
from .refusals import note_reply
from .starts import Exchange


class StreamingCall:
    """A start whose reply is read while it arrives: sent on entering, its connection closed at once on leaving.

    Until it is left it takes one of the account's turns for long requests, which entering waits for.

    Entering tries again as starts do, as long as nothing can have begun, and gives a 2xx reply. Raises the refusal,
    `NotSent`, and `StartUnknown` where it cannot be known whether a run began; so do the `pieces` as long as none
    came. Cancelled or left before the first piece, what was sent is told to hooks and log as `StartAbandoned`.
    """

    def __init__(
        self,
        exchange: Exchange,
        send: StreamSend,
        account: Account,
        start: StartRequest,
        *,
        clock: Clock,
        emit: Dispatcher,
        accept: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._account = account
        self._launch = start
        self._request = attrs.evolve(start.request, is_long=True)
        self._clock = clock
        self._emit = emit
        self._accept = accept
        self._flight: PendingStart[Any] = PendingStart(start, clock=clock, emit=emit)
        self._turn = AsyncExitStack()
        self._stack = AsyncExitStack()
        self._reply: StreamedReply | None = None
        self._bytes: AsyncIterator[bytes] | None = None
        self._fault: AgentsError | None = None
        self._has_begun = False  # whether the first run was told
        # Whether a run may have begun of which nobody knows: no piece came, and no error told it.
        self._is_owed = not start.request.is_repeatable

    @property
    def status(self) -> int:
        """Return the status, which is 2xx."""
        return self._entered.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers; ask for them in lower case."""
        return self._entered.headers

    @property
    def _entered(self) -> StreamedReply:
        if self._reply is None:
            raise RuntimeError("a stream has to be entered first")
        return self._reply

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body's bytes as they arrive.

        Raises `StartUnknown` where none comes, `ReplyLost` where the body breaks off after the first or stays silent
        for too long, and `PoolClosed`.
        """
        return self

    def note_run(self, run: Run) -> None:
        """Note the run that the reply told of first: it is counted, and told to hooks and log, once."""
        if not self._has_begun:
            self._has_begun = True
            self._accept()
            self._emit(RunStarted(vendor=self._launch.vendor, target=self._launch.target, run=run))

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()  # who was cancelled already must not start anything
        self._account.budget.earn()
        deadline = anyio.current_effective_deadline()
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self._account.limiter.long_permits)
            try:
                await self._open(deadline)
            except Exception as exc:
                if not (self._is_owed and self._flight.is_sent):
                    raise
                error = exc if isinstance(exc, AgentsError) else self._flight.foreign(exc)
                raise self.start_unknown(error) from error
            except BaseException:
                self._abandon()
                raise
            self._turn = turn.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._abandon()
        try:
            await self._stack.aclose()
        finally:
            await self._turn.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._entered.pieces()
        try:
            piece = await anext(self._bytes, b"")
        except AgentsError as error:
            error.vendor = self._account.vendor
            self._fault = error
            if self._is_owed:
                raise self.start_unknown(error) from error
            raise
        if piece:
            self._is_owed = False
            return piece
        if self._is_owed:
            call = self._request.call
            raise self.start_unknown(DecodeError(f"the answer to {call} was empty", call=call))
        raise StopAsyncIteration

    async def _open(self, deadline: float) -> None:
        failures = 0
        while True:
            try:
                await self._exchange.send(self._account, self._request, self._flight, run_inline=self._carry)
            except AgentsError as error:
                failures += 1
                error.tries = failures
                if self._flight.is_sent and is_outcome_unknown(self._request, error):
                    raise
                self._flight.clear()
                await self._exchange.wait_to_retry(
                    self._account, self._request, error, failures=failures, deadline=deadline
                )
            else:
                return

    async def _carry(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send once. Of a success the body is still to come."""
        began_at, self._fault, self._reply = self._clock.now(), None, None
        async with AsyncExitStack() as stack:
            stack.callback(self._done, began_at)
            try:
                sending = self._send.stream(request, headers=headers, on_sent=on_sent)
                reply = self._reply = await stack.enter_async_context(sending)
            except AgentsError as error:
                self._fault = error
                raise
            told = Reply(reply.status, reply.headers)
            if not told.is_success:
                return attrs.evolve(told, body=await reply.read())
            self._stack = stack.pop_all()
        return told

    def _done(self, began_at: float) -> None:
        """Tell of a request that is over."""
        if self._emit.is_detailed:
            self._emit(
                RequestDone(
                    vendor=self._account.vendor,
                    call=self._request.call,
                    method=self._request.method,
                    status=None if self._reply is None or self._fault else self._reply.status,
                    seconds=self._clock.now() - began_at,
                    error=self._fault,
                )
            )

    def start_unknown(self, cause: AgentsError) -> StartUnknown:
        """Build the error for what was sent, and whose answer tells nothing because of `cause`."""
        self._is_owed = False
        if isinstance(cause, DecodeError):
            self.note_reply(cause)
        return self._flight.start_unknown(cause)

    def note_reply(self, error: DecodeError) -> None:
        """Note on `error` which reply it was that could not be read."""
        if self._reply is not None:
            note_reply(error, self._reply)

    def _abandon(self) -> None:
        """Tell of a run that may have begun, where nobody else will."""
        if self._is_owed and self._flight.is_sent:
            call = self._request.call
            lost = ReplyLost(f"{call} was left before anything of its answer came", call=call)
            self._flight.abandon(None, self.start_unknown(lost))
