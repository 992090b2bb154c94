"""What a vendor's fake must supply: a world that answers requests. No sockets, no waiting.

A world is told the time with each request (`now`, seconds of its own scaled clock, from 0) and decides in one
go. The simulator serves worlds over loopback; tests ask them directly through a `Send`.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

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
    `delay` is how long a run waits before it begins.
    """

    seed: int = 0
    median: float = 20.0
    spread: float = 0.6
    delay: float = 0.0
    pausing: float = 0.05
    outcomes: Mapping[str, float] = field(factory=lambda: {"completed": 0.9, "failed": 0.07, "aborted": 0.03})
    scripts: Mapping[str, Sequence[Step]] = field(factory=dict)

    def draw(self, chance: random.Random) -> tuple[float, str]:
        """Draw how long a run lasts, in seconds, and how it ends."""
        seconds = self.median * chance.lognormvariate(0.0, self.spread)
        ends = list(self.outcomes)
        return seconds, chance.choices(ends, [self.outcomes[end] for end in ends])[0]


@frozen(kw_only=True)
class Call:
    """One request as a route's handler gets it."""

    request: Request
    path: Mapping[str, str]
    query: Mapping[str, str]
    now: float

    def header(self, name: str) -> str | None:
        """Give a header by its name in lower case."""
        return self.request.headers.get(name)

    def json(self) -> Any:
        """Read the body as JSON. Raises ValueError."""
        return decode_json(self.request.body or b"")


@frozen(kw_only=True)
class Route:
    """One endpoint of a fake. `path` is a template: `/api/items/{item_id}/status`."""

    method: str
    path: str
    call: str
    purpose: Purpose
    handler: Callable[[Call], Reply]

    def match(self, method: str, raw_path: str) -> Mapping[str, str] | None:
        """Give the template's parameters, decoded, or None when this is not the route."""
        if method != self.method:
            return None
        pattern = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, raw_path)
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


class World(Protocol):
    """A vendor's fake: strict where the facts are known, and it counts what it saw."""

    @property
    def vendor(self) -> str:
        """Give the vendor's name, as in a run reference."""
        ...

    @property
    def routes(self) -> Sequence[Route]:
        """Give all endpoints."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Give what was counted: at least `token_requests`, `starts` and `looks`."""
        ...


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """Build a JSON reply."""
    return Reply(status, {"content-type": "application/json", **headers}, encode_json(body))


def find_route(worlds: Sequence[World], method: str, raw_path: str) -> tuple[Route, Mapping[str, str]] | None:
    """Find who answers a request."""
    for world in worlds:
        for route in world.routes:
            path = route.match(method, raw_path)
            if path is not None:
                return route, path
    return None


def answer(worlds: Sequence[World], request: Request, *, now: float) -> Reply:
    """Let the worlds answer `request`; 404 when nobody has such an endpoint."""
    parts = urlsplit(request.url)
    found = find_route(worlds, request.method, parts.path)
    if found is None:
        return json_reply({"message": "no such endpoint"}, 404)
    route, path = found
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return route.handler(Call(request=request, path=path, query=query, now=now))
