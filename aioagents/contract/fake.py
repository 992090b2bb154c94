"""What a vendor's fake must supply: a world that answers requests. No sockets, no waiting.

A world is told the time with each request (`now`, seconds of its own scaled clock, from 0) and decides in one
go. The simulator serves worlds over loopback; tests ask them directly through a `Send`. So that the simulator
finds it, a vendor's module `fake` has a function `make_fake(plan: RunPlan) -> World`.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import evolve, field, frozen

from ..codec import decode_json, encode_json
from ..model import Purpose, Reply, Request

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@frozen
class Step:
    """One stretch of a scripted run: the vendor's status word, and how many seconds it lasts."""

    status: str
    seconds: float = 0.0


@frozen(kw_only=True)
class RunPlan:
    """How the runs of a world go: scripted for the targets named in `scripts`, else drawn from the seed.

    A drawn run lasts a log-normally distributed time around `median` seconds and ends in one of `outcomes`
    (weights by the end's plain name: completed, failed, aborted); a share of `pausing` stops once on the way.
    `delay` is how long a run waits before it begins. The world's second 0 is `epoch` in the dates it tells;
    `history` runs had ended by then, begun one a minute.
    """

    seed: int = 0
    median: float = 20.0
    spread: float = 0.6
    delay: float = 0.0
    pausing: float = 0.05
    outcomes: Mapping[str, float] = field(factory=lambda: {"completed": 0.9, "failed": 0.07, "aborted": 0.03})
    scripts: Mapping[str, Sequence[Step]] = field(factory=dict)
    epoch: datetime = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    history: int = 0

    def draw(self, chance: random.Random) -> tuple[float, str]:
        """Draw how long a run lasts, in seconds, and how it ends."""
        seconds = self.median * chance.lognormvariate(0.0, self.spread)
        ends = list(self.outcomes)
        return seconds, chance.choices(ends, [self.outcomes[end] for end in ends])[0]


@frozen(kw_only=True)
class Call:
    """One request as a route's handler gets it.

    `speed` is how many of the world's seconds pass in one of the client's: a time span that the client is
    told (how long a token lives) is one of the client's. `hastens`, where given, is asked once by an
    `Announcer`, with the id of a run that this call starts and whose end is going to be announced: True says
    that the run is to be over at once, and its webhook due at once. `moment` is the machine's own date, where the
    client lives by that and not by the world's: what the client dates and signs is fresh by either.
    """

    request: Request
    path: Mapping[str, str]
    query: Mapping[str, str]
    now: float
    speed: float = 1.0
    hastens: Callable[[str], bool] | None = None
    moment: datetime | None = None

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case."""
        return self.request.headers.get(name)

    def json(self) -> Any:
        """Read the body as JSON. Raises ValueError."""
        return decode_json(self.request.body or b"")


@frozen(kw_only=True)
class Held:
    """A reply that the world owes until its second `until`, infinite where nothing is planned.

    Whoever serves the world asks `reply(now)` then, and again whenever that gives another `Held`. `drop(now)` is
    called, once, when the client's connection is gone before; where there is none, nobody polls whether it is.
    """

    until: float
    reply: "Callable[[float], Answer]"
    drop: Callable[[float], None] | None = None


@frozen(kw_only=True)
class Streamed:
    """A reply whose body is sent bit by bit: each piece at the world's second that stands beside it, in order.

    `drop(now)` is called, once, when the connection is gone before the last piece was sent, whoever ended it.
    """

    pieces: Sequence[tuple[float, bytes]] = field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    drop: Callable[[float], None] | None = None


#: What a handler gives: a reply, now, later or bit by bit.
Answer: TypeAlias = Reply | Held | Streamed


@frozen(kw_only=True)
class Route:
    """One endpoint of a fake. `path` is a template: `/api/items/{item_id}/status`."""

    method: str
    path: str
    call: str
    purpose: Purpose
    handler: Callable[[Call], Answer]


class Refused(Exception):
    """Raised by a handler, or by what a `Held` asks later: the call is refused with this status."""

    def __init__(self, status: int, *messages: str) -> None:
        super().__init__(*messages)
        self.status = status


#: A route in the making: method, path, call, purpose, handler.
Endpoint: TypeAlias = tuple[str, str, str, Purpose, Callable[[Call], Answer]]


def make_routes(
    endpoints: Iterable[Endpoint],
    *,
    counts: Counter[str],
    tell: Callable[[Refused, float], Reply],
    guard: Callable[[Call], None] | None = None,
) -> tuple[Route, ...]:
    """Build routes that ask `guard` first; a `Refused` is counted as `refused_<status>` and told by `tell`."""

    def refuse(refused: Refused, now: float) -> Reply:
        counts[f"refused_{refused.status}"] += 1
        return tell(refused, now)

    def owing(held: Held) -> Held:
        def reply(now: float) -> Answer:
            try:
                later = held.reply(now)
            except Refused as refused:
                return refuse(refused, now)
            return owing(later) if isinstance(later, Held) else later

        return evolve(held, reply=reply)

    def refusing(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            try:
                if guard is not None:
                    guard(call)
                reply = handler(call)
            except Refused as refused:
                return refuse(refused, call.now)
            return owing(reply) if isinstance(reply, Held) else reply

        return handle

    return tuple(
        Route(method=method, path=path, call=call, purpose=purpose, handler=refusing(handler))
        for method, path, call, purpose, handler in endpoints
    )


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    texts_and_names = _PARAMETER.split(template)
    texts = [re.escape(text) for text in texts_and_names[::2]]
    names = [f"(?P<{name}>[^/]+)" for name in texts_and_names[1::2]]
    return re.compile("".join(part for pair in zip(texts, [*names, ""], strict=True) for part in pair))


def _parameters(pattern: re.Pattern[str], raw_path: str) -> Mapping[str, str] | None:
    found = pattern.fullmatch(raw_path)
    return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


class FakeServer(Protocol):
    """A vendor's fake: strict where the facts are known, and it counts what it saw."""

    @property
    def vendor(self) -> str:
        """Return the vendor's name, as in a run reference."""
        ...

    @property
    def routes(self) -> Sequence[Route]:
        """Return all endpoints."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Return what was counted: at least `token_requests`, `starts` (accepted ones) and `polls`."""
        ...

    def environment(self, url: str) -> Mapping[str, str]:
        """Return the variables that point a client at this world, served at `url`, and let it in."""
        ...

    def revoke(self, authorization: str) -> bool:
        """Stop accepting the token in this `Authorization` header; False when it is no granted token."""
        ...

    def ended_at(self, run_id: str) -> float | None:
        """Return the world's second at which a run ends; None when it is unknown or never ends."""
        ...


@frozen
class Webhook:
    """One announcement that a vendor POSTs to a URL which a client gave it, due at the world's second `at`.

    `run` is the vendor's id of the run that it tells of. URLs may hold secrets, and bodies personal data:
    both stay out of the repr.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    at: float
    run: str = ""


@runtime_checkable
class Announcer(Protocol):
    """What a `World` has besides when its vendor sends webhooks. A world without them has none of this."""

    def next_webhook_at(self) -> float | None:
        """Return the world's second at which the next webhook is due; None when none is planned."""
        ...

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return what is due by now, in the order in which it fell due, each once."""
        ...

    def lies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return bodies of the same shape that are not true: of another run, with a status that does not hold."""
        ...


@runtime_checkable
class Doorkeeper(Protocol):
    """What a `World` has besides when its vendor does not answer unknown paths as `no_such_endpoint` does."""

    def missing(self, method: str, raw_path: str, now: float) -> Reply | None:
        """Answer what no endpoint fits; None where the path is not one of this vendor's."""
        ...


@frozen
class Match:
    """Who answers a request: the world, its route, and the parameters of the path, decoded."""

    fake: FakeServer
    route: Route
    path: Mapping[str, str]


class Router:
    """Finds who answers a request. Built once; a path without parameters costs one poll-up in a dict."""

    def __init__(self, fakes: Sequence[FakeServer]) -> None:
        self._fakes = fakes
        self._plain: dict[tuple[str, str], Match] = {}
        self._templates: dict[str, list[tuple[re.Pattern[str], FakeServer, Route]]] = {}
        for fake in fakes:
            for route in fake.routes:
                if _PARAMETER.search(route.path):
                    others = self._templates.setdefault(route.method, [])
                    others.append((_pattern(route.path), fake, route))
                else:
                    self._plain.setdefault((route.method, route.path), Match(fake, route, {}))

    def find(self, method: str, raw_path: str) -> Match | None:
        """Return the match, or None when no world has such an endpoint."""
        plain = self._plain.get((method, raw_path))
        if plain is not None:
            return plain
        for pattern, fake, route in self._templates.get(method, ()):
            path = _parameters(pattern, raw_path)
            if path is not None:
                return Match(fake, route, path)
        return None

    def missing(self, method: str, raw_path: str, now: float) -> Reply:
        """Return the reply where `find` gives None."""
        for fake in self._fakes:
            reply = fake.missing(method, raw_path, now) if isinstance(fake, Doorkeeper) else None
            if reply is not None:
                return reply
        return no_such_endpoint()


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """Build a JSON reply."""
    return Reply(status, {"content-type": "application/json", **headers}, encode_json(body))


def no_such_endpoint() -> Reply:
    """Build the reply to a request that no world has an endpoint for, and whose path no vendor knows."""
    return json_reply({"message": "no such endpoint"}, 404)


def read_query(text: str) -> Mapping[str, str]:
    """Read a query string, raw or percent-encoded; of equal names the last one counts."""
    return dict(parse_qsl(text, keep_blank_values=True)) if text else {}


def answer(fakes: Sequence[FakeServer], request: Request, *, now: float, speed: float = 1.0) -> Reply:
    """Let the worlds answer `request` at once; 404 when nobody has such an endpoint.

    Raises TypeError where the world owes the reply, or some of it; `ask` gives that as it is.
    """
    reply = ask(fakes, request, now=now, speed=speed)
    if not isinstance(reply, Reply):
        raise TypeError(f"the reply to {request.method} {request.call} does not come at once")
    return reply


def ask(fakes: Sequence[FakeServer], request: Request, *, now: float, speed: float = 1.0) -> Answer:
    """Let the worlds answer `request`, now or later; 404 when nobody has such an endpoint."""
    parts, router = urlsplit(request.url), _router(tuple(fakes))
    match = router.find(request.method, parts.path)
    if match is None:
        return router.missing(request.method, parts.path, now)
    query = read_query(parts.query)
    return match.route.handler(Call(request=request, path=match.path, query=query, now=now, speed=speed))


@lru_cache(maxsize=4)
def _router(fakes: tuple[FakeServer, ...]) -> Router:
    """Build a router once for the worlds that are asked just now."""
    return Router(fakes)
