"""The parts that every vendor's fake is built from."""

import random
from collections import Counter
from typing import Any

import pytest
from attrs import evolve

from aioagents.contract.fake import (
    AnswersUnknownPaths,
    Call,
    DelayedReply,
    Match,
    Refused,
    Route,
    Router,
    RunPlan,
    answer,
    ask,
    json_reply,
    make_routes,
    read_query,
)
from aioagents.model import Purpose, Reply, Request
from aioagents.providers.leena.fake import FakeLeena


def _route(path: str, method: str = "GET") -> Route:
    def echo(call: Call) -> Reply:
        return json_reply({"path": dict(call.path), "query": dict(call.query), "now": call.now})

    return Route(method=method, path=path, call="echo", purpose=Purpose.CALL, handler=echo)


class _Server(FakeLeena):
    """A fake server with routes of the test's choice."""

    def __init__(self, *routes: Route) -> None:
        super().__init__()
        self._routes = routes


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/a/{item}/b", "/a/1/b", {"item": "1"}),
        ("/a/{item}/b", "/a/x%2Fy/b", {"item": "x/y"}),
        ("/a/{item}/b", "/a//b", None),
        ("/a/{item}/b", "/a/1/2/b", None),
        ("/v1.0/{x}", "/v1.0/1", {"x": "1"}),
        ("/v1.0/{x}", "/v1x0/1", None),
        ("/{x}/{y}", "/1/2", {"x": "1", "y": "2"}),
        ("/plain", "/plain", {}),
        ("/plain", "/plain/", None),
    ],
)
def test_templates(template: str, path: str, found: dict[str, str] | None) -> None:
    """A parameter is one segment of the path, decoded; all other characters stand for themselves."""
    router = Router([_Server(_route(template))])
    match = router.find("GET", path)
    assert (None if match is None else match.path) == found
    assert router.find("POST", path) is None


def test_router_finds_server_route_and_parameters() -> None:
    """The router finds the fake server that has the endpoint."""
    first, second = _Server(_route("/a")), _Server(_route("/b/{x}"), _route("/b", "POST"))
    router = Router([first, second])
    assert router.find("GET", "/a") == Match(first, first.routes[0], {})
    assert router.find("GET", "/b/7") == Match(second, second.routes[0], {"x": "7"})
    assert router.find("POST", "/b") == Match(second, second.routes[1], {})
    assert router.find("PUT", "/b") is None
    assert router.find("GET", "/b/7/8") is None


def test_handlers_get_path_query_and_time() -> None:
    """A handler gets decoded parameters and the time."""
    fake = _Server(_route("/a/{x}"))
    request = Request(method="GET", url="http://h/a/1%202?b%5Bc%5D=d&e=", call="echo")
    body = answer([fake], request, now=3.0).body
    assert body == b'{"path":{"x":"1 2"},"query":{"b[c]":"d","e":""},"now":3.0}'
    assert answer([fake], evolve(request, url="http://h/b"), now=0.0).status == 404


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", {}),
        ("filters[timestamp][gt]=2026-01-01", {"filters[timestamp][gt]": "2026-01-01"}),
        ("filters%5Btimestamp%5D%5Bgt%5D=2026-01-01", {"filters[timestamp][gt]": "2026-01-01"}),
        ("a=1%2B2&b=1+2", {"a": "1+2", "b": "1 2"}),
        ("a=1&a=2", {"a": "2"}),
    ],
)
def test_query_is_read_raw_or_encoded(text: str, read: dict[str, str]) -> None:
    """Names and values of a query may be encoded or not; a raw plus is a space."""
    assert read_query(text) == read


def test_plan_draws_around_its_median() -> None:
    """Half of the drawn runs are shorter than the median, and the ends come by their weights."""
    plan, chance = RunPlan(median=10.0, outcomes={"completed": 3.0, "failed": 1.0}), random.Random(1)
    drawn = [plan.draw(chance) for _ in range(4000)]
    assert 0.45 < sum(seconds < 10 for seconds, _ in drawn) / 4000 < 0.55
    assert 0.7 < sum(end == "completed" for _, end in drawn) / 4000 < 0.8
    assert {end for _, end in drawn} == {"completed", "failed"}


# Routes that refuse


class _OneRoute:
    """One route of a vendor that answers refusals with their messages and status."""

    def __init__(self, handler: Any, guard: Any = None) -> None:
        self.counts: Counter[str] = Counter()
        self.refused_at: list[float] = []
        (self.route,) = make_routes(
            [("GET", "/a", "a.get", Purpose.POLL, handler)],
            counts=self.counts,
            refuse=self._refuse,
            guard=guard,
        )

    def _refuse(self, refused: Refused, now: float) -> Reply:
        self.refused_at.append(now)
        return json_reply([*refused.args, refused.status], refused.status)

    def ask(self, now: float = 1.0) -> Any:
        request = Request(method="GET", url="/a", call="")
        return self.route.handler(Call(request=request, path={}, query={}, now=now))


def test_refusals_are_answered_and_counted() -> None:
    """What a handler or the guard before it raises is answered in the vendor's form, and counted by its status."""

    def refuse(call: Call) -> Reply:
        raise Refused(404, "no", "such thing")

    def bar(call: Call) -> None:
        raise Refused(401)

    server = _OneRoute(refuse)
    assert server.ask().body == b'["no","such thing",404]'
    assert (server.route.call, server.route.purpose, server.counts) == (
        "a.get",
        Purpose.POLL,
        {"refused_404": 1},
    )
    barred = _OneRoute(refuse, guard=bar)
    assert barred.ask().body == b"[401]"
    assert barred.counts == {"refused_401": 1}
    assert _OneRoute(lambda call: Reply(200), guard=lambda call: None).ask() == Reply(200)


def test_a_delayed_reply_may_be_refused_later() -> None:
    """A `Refused` raised when a delayed reply is due is answered and counted like any other, with the later time."""

    def first(now: float) -> DelayedReply:
        return DelayedReply(until=5.0, reply=second, on_disconnect=dropped.append)

    def second(now: float) -> Reply:
        raise Refused(500)

    dropped: list[float] = []
    server = _OneRoute(lambda call: DelayedReply(until=3.0, reply=first))
    delayed = server.ask()
    assert (delayed.until, delayed.on_disconnect) == (3.0, None)
    later = delayed.reply(3.0)
    assert (later.until, later.on_disconnect) == (5.0, dropped.append)
    assert later.reply(5.5).status == 500
    assert (server.counts, server.refused_at) == ({"refused_500": 1}, [5.5])


def test_answer_raises_for_a_delayed_reply() -> None:
    """`answer` does not wait: it raises for a reply that is delayed."""
    route = Route(
        method="GET",
        path="/a",
        call="a.get",
        purpose=Purpose.POLL,
        handler=lambda call: DelayedReply(until=1.0, reply=lambda now: Reply(200)),
    )
    request = Request(method="GET", url="http://h/a", call="a.get")
    with pytest.raises(TypeError, match=r"GET a\.get"):
        answer([_Server(route)], request, now=0.0)
    assert isinstance(ask([_Server(route)], request, now=0.0), DelayedReply)


class _ServerWithUnknownPaths(_Server):
    """A fake server that answers unknown paths below `/own/`."""

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply | None:
        return Reply(405, {"at": str(now)}) if raw_path.startswith("/own/") else None


def test_servers_answer_unknown_paths_of_their_own() -> None:
    """An unknown path is answered by the server that knows it, else with 404."""
    fakes = [_Server(_route("/a")), _ServerWithUnknownPaths(_route("/own/a"))]
    router = Router(fakes)
    assert [isinstance(fake, AnswersUnknownPaths) for fake in fakes] == [False, True]
    assert router.answer_unknown("GET", "/own/b", 2.0) == Reply(405, {"at": "2.0"})
    assert router.answer_unknown("GET", "/b", 2.0).status == 404
    assert answer(fakes, Request(method="PUT", url="http://h/own/a?x=1", call=""), now=1.0).status == 405
