"""Kore Agent Platform: streamed runs."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from inspect import isasyncgen
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen

from ...calls import StartRequest, StreamingCall
from ...codec import member
from ...contract import EventDecoder
from ...errors import DecodeError, PoolClosed, ReplyLost, StreamCut
from ...model import Run, RunRef, RunState
from ...tracebacks import hides_locals
from .calls import Calls
from .options import StreamMode
from .settings import VENDOR
from .values import Answer, AuthorizationProfile, SessionInfo, Thought, text_of
from .wire import KORE

#: The separator between the texts of two events; tokens include their own spaces.
_SEPARATORS: Final[Mapping[str, str]] = {
    StreamMode.TOKENS: "",
    StreamMode.MESSAGES: "\n",
    StreamMode.CUSTOM: "",
}


@frozen(kw_only=True)
class StreamEvent(Answer):
    """One event of a stream. `text` is what it adds: a piece of the answer or a whole message, depending on the mode.

    `index` counts from 0 if the platform numbers the events. `session` is complete in the first and last event, and
    may be empty in others. `whole_output` of the last event repeats the whole output. Agent Platform API, section
    6.5.5.
    """

    index: int | None = member("eventIndex", default=None)
    message_id: str = ""
    thoughts: tuple[Thought, ...] = member("debug", default=())
    session: SessionInfo = member("sessionInfo", factory=SessionInfo)
    whole_output: tuple[Any, ...] = member("sessionInfo.output", default=(), repr=False)
    is_last: bool = member("isLastEvent", default=False)


@frozen(kw_only=True)
class StreamResult:
    """The sum of the events read so far; of all events if `is_complete`.

    `text` consists of the events' texts, or of the repeated output of the last event if they had none. `is_error` is
    set if the run failed, which the HTTP status does not show.
    """

    text: str = field(default="", repr=False)
    thoughts: tuple[Thought, ...] = ()
    session: SessionInfo = field(factory=SessionInfo)
    run_id: str = ""
    pending_authorizations: tuple[AuthorizationProfile, ...] = ()
    events: int = 0
    is_complete: bool = False

    @property
    def is_error(self) -> bool:
        """Return whether the run failed."""
        return self.session.is_error


def read_event(body: Mapping[str, Any]) -> StreamEvent:
    """Read one event. The whole answer of an app that does not stream is read as one."""
    return KORE.read(body, StreamEvent, call="runs.stream")


@define
class ResultBuilder:
    """Adds up the events of a stream. Pure."""

    mode: str
    run_id: str = ""
    events: int = 0
    is_complete: bool = False
    #: The session as in the latest event that describes it, not just its run id.
    session: SessionInfo = field(factory=SessionInfo)
    _texts: list[str] = field(factory=list)
    _whole: str = ""
    _thoughts: list[Thought] = field(factory=list)
    _pending: tuple[AuthorizationProfile, ...] = ()

    def add(self, event: StreamEvent) -> None:
        """Add an event."""
        self.events += 1
        self.is_complete |= event.is_last
        self.run_id = self.run_id or event.session.run_id
        if event.text:
            self._texts.append(event.text)
        self._whole = text_of(event.whole_output) or self._whole
        self._thoughts += event.thoughts
        self._pending = event.pending_authorizations or self._pending
        if event.session.session_id or event.session.status:
            self.session = event.session

    def result(self) -> StreamResult:
        """Return the result of the events so far."""
        return StreamResult(
            # The last event repeats the texts of the others, and counts only if these had none.
            text=_SEPARATORS[self.mode].join(self._texts) if self._texts else self._whole,
            thoughts=tuple(self._thoughts),
            session=self.session,
            run_id=self.run_id,
            pending_authorizations=self._pending,
            events=self.events,
            is_complete=self.is_complete,
        )


class RunStream:
    """The events of a run while it is in progress: `async for event in platform.runs.stream(...)`. Read once.

    The run is started by the first read, or by entering the stream (`async with`). Leaving the loop or the block
    closes the connection; the run itself goes on. If single events are read (`anext`), the end of the stream or
    `aclose` closes it. A stream that breaks off, also in the middle of an event, raises `StreamCut`, which carries
    the bytes received of that event and the `run`, if it is known: poll it, since the platform cannot resume a
    stream. Returned by `Runs.stream`.
    """

    def __init__(
        self, calls: Calls, start: StartRequest, mode: str, ref_of: Callable[[SessionInfo, str], RunRef]
    ) -> None:
        self._calls = calls
        self._start = start
        self._ref_of = ref_of
        self._decoder = EventDecoder(vendor=VENDOR, call=start.request.call)
        self._builder = ResultBuilder(mode)
        self._streaming: StreamingCall | None = None
        self._is_read = False
        self._is_closed = False
        # Set only if single events are read: leaving a loop must drop the last reference to the generator.
        self._events: AsyncGenerator[StreamEvent, None] | None = None

    @property
    def result(self) -> StreamResult:
        """Return the result of the events read so far."""
        return self._builder.result()

    @property
    def ref(self) -> RunRef | None:
        """Return the reference by which any process can follow the run; None before an event has its id."""
        run_id = self._builder.run_id
        return self._ref_of(self._builder.session, run_id) if run_id else None

    async def read(self) -> StreamResult:
        """Read to the end, and return the result."""
        async for _ in self:
            pass
        return self.result

    async def __aenter__(self) -> Self:
        if self._streaming is not None:
            raise RuntimeError("a stream can be entered only once")
        await self._begin()
        return self

    async def _begin(self) -> StreamingCall:
        self._calls.pool.ensure_open()
        streaming = self._calls.pool.caller.stream(self._calls.account, self._start)
        self._streaming = await streaming.__aenter__()
        return self._streaming

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        self._is_closed = True
        events, self._events = self._events, None
        if isasyncgen(events) and not events.ag_running:
            await events.aclose()
        await self._close()

    async def _close(self) -> None:
        self._is_read = True
        if self._streaming is not None:
            await self._streaming.__aexit__(None, None, None)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self._events or self._read_events()

    async def __anext__(self) -> StreamEvent:
        if self._events is None:
            if self._is_closed:
                raise StopAsyncIteration
            self._events = self._read_events()
        return await anext(self._events)

    async def _read_events(self) -> AsyncGenerator[StreamEvent, None]:
        if self._is_read:
            raise RuntimeError("a stream can be read only once")
        self._is_read = True
        streaming, is_reported = self._streaming or await self._begin(), False
        try:
            pieces = streaming.pieces()
            while (events := await self._next(streaming, pieces)) is not None:
                for event in events:
                    self._builder.add(event)
                    if not is_reported and (run := self._run()) is not None:
                        streaming.note_run(run)
                        is_reported = True
                    yield event
                    if event.is_last:
                        return
        finally:
            await self._close()

    @hides_locals
    async def _next(self, streaming: StreamingCall, pieces: AsyncIterator[bytes]) -> list[StreamEvent] | None:
        """Wait for the next piece, and return the events that it completes; None at the end."""
        decoder = self._decoder
        try:
            if decoder.fault is not None:
                raise decoder.fault
            piece = b"" if decoder.is_done else await anext(pieces, b"")
            if piece:
                return _events_in(decoder.feed(piece))
            if not decoder.is_done:
                decoder.end()
            if self._builder.events == 0:
                raise KORE.wrong(self._start.request.call, "$")
        except ReplyLost as error:
            raise decoder.cut("the connection was lost", run=self._run()) from error
        except (StreamCut, PoolClosed) as error:
            error.run, error.ref = self._run(), self.ref
            raise
        except DecodeError as error:
            if self._builder.events == 0:
                raise streaming.start_unknown(error) from error
            streaming.note_reply(error)
            error.run, error.ref = self._run(), self.ref
            raise
        self._builder.is_complete = True
        return None

    def _run(self) -> Run | None:
        """Return the run as the events describe it, never as ended: only a poll shows that."""
        ref = self.ref
        if ref is None:
            return None
        status = self._builder.session.status
        raw = self._builder.session.raw
        return Run(
            ref=ref, state=RunState.RUNNING, status=status, raw=raw, seen_at=self._calls.pool.clock.utcnow()
        )


def _events_in(bodies: list[Any]) -> list[StreamEvent]:
    """Read decoded events. An array is read as the events that it holds."""
    flat = [each for body in bodies for each in (body if isinstance(body, list) else [body])]
    return [read_event(each) for each in flat if isinstance(each, dict)]
