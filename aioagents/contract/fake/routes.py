"""The endpoints of a fake server: what a handler is called with, and what it may return. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from ...codec import decode_json, encode_json
from ...model import Purpose, Reply, Request


@frozen(kw_only=True)
class Call:
    """One request as a route's handler gets it.

    `now` is the server's second. `speed` is how many of the server's seconds pass in one of the client's: durations
    that the reply states (how long a token lives) are the client's seconds. `client_time` is the client's own date,
    None where it is the server's: a delivery may be dated by either.

    `should_end_at_start`, where given, is called by a server that `SendsWebhooks`, once, with the id of a run that
    this call starts and for whose end a webhook is planned. True means that the run ends at its start, and that its
    webhook is due then.
    """

    request: Request
    path: Mapping[str, str]
    query: Mapping[str, str]
    now: float
    speed: float = 1.0
    should_end_at_start: Callable[[str], bool] | None = None
    client_time: datetime | None = None

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case."""
        return self.request.headers.get(name)

    def json(self) -> Any:
        """Return the body read as JSON. Raises ValueError."""
        return decode_json(self.request.body or b"")


@frozen(kw_only=True)
class DelayedReply:
    """A reply that is not available before the server's second `until`; infinite where no time is known yet.

    The caller calls `reply(now)` then, and again whenever that returns another `DelayedReply`. `on_disconnect(now)`
    is called once if the client's connection is lost before; without it, lost connections are not detected.
    """

    until: float
    reply: "Callable[[float], Answer]"
    on_disconnect: Callable[[float], None] | None = None


@frozen(kw_only=True)
class StreamedReply:
    """A reply whose body is sent in pieces: each at the server's second that is paired with it, in order.

    `on_disconnect(now)` is called once if the connection ends before the last piece was sent, by either side.
    """

    pieces: Sequence[tuple[float, bytes]] = field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    on_disconnect: Callable[[float], None] | None = None


#: What a handler returns: a reply that is complete, delayed, or streamed.
Answer: TypeAlias = Reply | DelayedReply | StreamedReply


@frozen(kw_only=True)
class Route:
    """One endpoint of a fake. `path` is a template: `/api/items/{item_id}/status`."""

    method: str
    path: str
    call: str
    purpose: Purpose
    handler: Callable[[Call], Answer]


class Refused(Exception):
    """Raised by a handler, or by the `reply` of a `DelayedReply`: the call is refused with this status."""

    def __init__(self, status: int, *messages: str) -> None:
        super().__init__(*messages)
        self.status = status


#: What a route is made of: method, path, call, purpose, handler.
Endpoint: TypeAlias = tuple[str, str, str, Purpose, Callable[[Call], Answer]]


def make_routes(
    endpoints: Iterable[Endpoint],
    *,
    counts: Counter[str],
    refuse: Callable[[Refused, float], Reply],
    guard: Callable[[Call], None] | None = None,
) -> tuple[Route, ...]:
    """Build routes that call `guard` before the handler.

    A `Refused` raised by either is counted as `refused_<status>`, and `refuse(refused, now)` builds its reply.
    """

    def refusal(refused: Refused, now: float) -> Reply:
        counts[f"refused_{refused.status}"] += 1
        return refuse(refused, now)

    def guard_delayed(delayed: DelayedReply) -> DelayedReply:
        def reply(now: float) -> Answer:
            try:
                later = delayed.reply(now)
            except Refused as refused:
                return refusal(refused, now)
            return guard_delayed(later) if isinstance(later, DelayedReply) else later

        return evolve(delayed, reply=reply)

    def guarded(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            try:
                if guard is not None:
                    guard(call)
                reply = handler(call)
            except Refused as refused:
                return refusal(refused, call.now)
            return guard_delayed(reply) if isinstance(reply, DelayedReply) else reply

        return handle

    return tuple(
        Route(method=method, path=path, call=call, purpose=purpose, handler=guarded(handler))
        for method, path, call, purpose, handler in endpoints
    )


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """Build a JSON reply."""
    return Reply(status, {"content-type": "application/json", **headers}, encode_json(body))
