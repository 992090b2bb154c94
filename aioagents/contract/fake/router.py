"""Which fake server answers a request, found by method and path. Pure."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from ...model import Reply, Request
from .routes import Answer, Call, Route, json_reply
from .server import AnswersUnknownPaths, FakeServer

_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@frozen
class Match:
    """What answers a request: the fake server, its route, and the path's parameters, decoded."""

    fake: FakeServer
    route: Route
    path: Mapping[str, str]


class Router:
    """Finds the route of a request. Built once; a path without parameters costs one look-up in a dict."""

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
        """Return the match, or None when no fake server has such an endpoint."""
        plain = self._plain.get((method, raw_path))
        if plain is not None:
            return plain
        for pattern, fake, route in self._templates.get(method, ()):
            path = _parameters(pattern, raw_path)
            if path is not None:
                return Match(fake, route, path)
        return None

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply:
        """Return the reply to a request for which `find` returned None."""
        for fake in self._fakes:
            reply = (
                fake.answer_unknown(method, raw_path, now) if isinstance(fake, AnswersUnknownPaths) else None
            )
            if reply is not None:
                return reply
        return no_such_endpoint()


def no_such_endpoint() -> Reply:
    """Build the reply to a request that no fake server has an endpoint for, and whose path is no vendor's."""
    return json_reply({"message": "no such endpoint"}, 404)


def read_query(text: str) -> Mapping[str, str]:
    """Read a query string, raw or percent-encoded; of equal names the last one counts."""
    return dict(parse_qsl(text, keep_blank_values=True)) if text else {}


def answer(fakes: Sequence[FakeServer], request: Request, *, now: float, speed: float = 1.0) -> Reply:
    """Return the reply to `request`; 404 when no fake server has such an endpoint.

    Raises TypeError where the reply is delayed or streamed; `ask` returns it in any case.
    """
    reply = ask(fakes, request, now=now, speed=speed)
    if not isinstance(reply, Reply):
        raise TypeError(f"the reply to {request.method} {request.call} does not come at once")
    return reply


def ask(fakes: Sequence[FakeServer], request: Request, *, now: float, speed: float = 1.0) -> Answer:
    """Return what the handler of `request` returns; 404 when no fake server has such an endpoint."""
    parts, router = urlsplit(request.url), _router(tuple(fakes))
    match = router.find(request.method, parts.path)
    if match is None:
        return router.answer_unknown(request.method, parts.path, now)
    query = read_query(parts.query)
    return match.route.handler(Call(request=request, path=match.path, query=query, now=now, speed=speed))


@lru_cache(maxsize=4)
def _router(fakes: tuple[FakeServer, ...]) -> Router:
    """Return the router of these fake servers, built at their first request."""
    return Router(fakes)


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    texts_and_names = _PARAMETER.split(template)
    texts = [re.escape(text) for text in texts_and_names[::2]]
    names = [f"(?P<{name}>[^/]+)" for name in texts_and_names[1::2]]
    return re.compile("".join(part for pair in zip(texts, [*names, ""], strict=True) for part in pair))


def _parameters(pattern: re.Pattern[str], raw_path: str) -> Mapping[str, str] | None:
    found = pattern.fullmatch(raw_path)
    return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}
