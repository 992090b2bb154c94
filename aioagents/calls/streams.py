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
from .account import UNSIGNED, Account
from .pending import PendingStart, StartRequest
from .redaction import known_secrets, redact
from .reply_errors import note_reply
from .sender import RequestSender


class StreamingCall:
    """A start that is sent on entering, and whose reply is read while it arrives.

    Entering waits for one of the account's permits for long requests, which is held until leaving. It makes further
    attempts as other starts do, as long as nothing can have begun, and returns once a 2xx reply begins. Raises the
    refusal, `NotSent`, and `StartUnknown` where it cannot be known whether a run began; so do the `pieces` until the
    first one arrived. Leaving closes the connection at once. Where it is cancelled or left before the first piece,
    what was sent is emitted as `StartAbandoned`.
    """

    def __init__(
        self,
        sender: RequestSender,
        send: StreamSend,
        account: Account,
        start: StartRequest,
        *,
        clock: Clock,
        emit: Dispatcher,
        count_accepted: Callable[[], None],
    ) -> None:
        self._sender = sender
        self._send = send
        self._account = account
        self._start = start
        self._request = attrs.evolve(start.request, is_long=True)
        self._clock = clock
        self._emit = emit
        self._count_accepted = count_accepted
        self._pending: PendingStart[Any] = PendingStart(start, clock=clock, emit=emit)
        self._permit = AsyncExitStack()
        self._connection = AsyncExitStack()
        self._reply: StreamedReply | None = None
        self._signature: Mapping[str, str] = UNSIGNED
        self._bytes: AsyncIterator[bytes] | None = None
        self._error: AgentsError | None = None
        self._is_run_noted = False
        # Whether a run may have begun that was not reported: no piece arrived, and no error was raised.
        self._is_unreported = not start.request.is_repeatable

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

        Raises `StartUnknown` where none arrives, `ReplyLost` where the body breaks off after the first piece or stays
        silent for too long, and `PoolClosed`.
        """
        return self

    def note_run(self, run: Run) -> None:
        """Record the run that the reply named: the first time, it is counted, and `RunStarted` is emitted."""
        if not self._is_run_noted:
            self._is_run_noted = self._account.is_proven = True
            self._count_accepted()
            self._emit(RunStarted(vendor=self._start.vendor, target=self._start.target, run=run))

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()  # a task that is cancelled already must not start anything
        self._account.budget.earn()
        deadline = anyio.current_effective_deadline()
        async with AsyncExitStack() as permit:
            await permit.enter_async_context(self._account.limiter.long_permits)
            try:
                await self._open(deadline)
            except Exception as exc:
                if not (self._is_unreported and self._pending.is_sent):
                    raise
                error = exc if isinstance(exc, AgentsError) else self._pending.wrap(exc)
                raise self.start_unknown(error) from error
            except BaseException:
                self._emit_abandoned()
                raise
            self._permit = permit.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._emit_abandoned()
        try:
            await self._connection.aclose()
        finally:
            await self._permit.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._entered.pieces()
        try:
            piece = await anext(self._bytes, b"")
        except AgentsError as error:
            error.vendor = self._account.vendor
            self._error = error
            if self._is_unreported:
                raise self.start_unknown(error) from error
            raise
        if piece:
            self._is_unreported = False
            return piece
        if self._is_unreported:
            call = self._request.call
            raise self.start_unknown(DecodeError(f"the answer to {call} was empty", call=call))
        raise StopAsyncIteration

    async def _open(self, deadline: float) -> None:
        """Make attempts until one gets a 2xx reply, its outcome is unknown, or no other is allowed."""
        failures = 0
        while True:
            try:
                await self._sender.send(self._account, self._request, self._pending, via=self._send_once)
            except AgentsError as error:
                failures += 1
                error.tries = failures
                if self._pending.is_sent and is_outcome_unknown(self._request, error):
                    raise
                self._pending.note_refused()
                await self._sender.wait_to_retry(
                    self._account, self._request, error, failures=failures, deadline=deadline
                )
            else:
                return

    async def _send_once(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send once; return the reply, of a 2xx one without its body, which is still to arrive."""
        began_at, self._error, self._reply = self._clock.now(), None, None
        self._signature = headers
        async with AsyncExitStack() as connection:
            connection.callback(self._emit_done, began_at)
            try:
                sending = self._send.stream(request, headers=headers, on_sent=on_sent)
                streamed = self._reply = await connection.enter_async_context(sending)
            except AgentsError as error:
                self._error = error
                raise
            reply = Reply(streamed.status, streamed.headers)
            if not reply.is_success:
                return attrs.evolve(reply, body=await streamed.read())
            self._connection = connection.pop_all()
        return reply

    def _emit_done(self, began_at: float) -> None:
        if self._emit.is_detailed:
            self._emit(
                RequestDone(
                    vendor=self._account.vendor,
                    call=self._request.call,
                    method=self._request.method,
                    status=None if self._reply is None or self._error else self._reply.status,
                    seconds=self._clock.now() - began_at,
                    error=self._error,
                )
            )

    def start_unknown(self, cause: AgentsError) -> StartUnknown:
        """Return the error to raise where, because of `cause`, the reply does not say whether a run began."""
        self._is_unreported = False
        if isinstance(cause, DecodeError):
            self.note_reply(cause)
        return self._pending.start_unknown(cause)

    def note_reply(self, error: DecodeError) -> None:
        """Set the status and the vendor's request id of the reply on `error`, which says that it cannot be read.

        Secrets that the reply repeats are replaced in it.
        """
        if self._reply is not None:
            note_reply(error, self._reply)
            redact(error, known_secrets(self._request, self._signature, self._start.redacted_body))

    def _emit_abandoned(self) -> None:
        """Emit that a run may have begun, unless that was reported otherwise."""
        if self._is_unreported and self._pending.is_sent:
            call = self._request.call
            lost = ReplyLost(f"{call} was left before any of its reply arrived", call=call)
            self._pending.emit_abandoned(None, self.start_unknown(lost))
