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


class _World(FakeLeena):
    """A world with routes of the test's choice."""

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
def test_template_takes_what_it_says(template: str, path: str, found: dict[str, str] | None) -> None:
    """A parameter is one segment of the path, decoded; all other characters stand for themselves."""
    router = Router([_World(_route(template))])
    match = router.find("GET", path)
    assert (None if match is None else match.path) == found
    assert router.find("POST", path) is None


def test_router_gives_world_route_and_parameters() -> None:
    """The router says which world has the endpoint."""
    first, second = _World(_route("/a")), _World(_route("/b/{x}"), _route("/b", "POST"))
    router = Router([first, second])
    assert router.find("GET", "/a") == Match(first, first.routes[0], {})
    assert router.find("GET", "/b/7") == Match(second, second.routes[0], {"x": "7"})
    assert router.find("POST", "/b") == Match(second, second.routes[1], {})
    assert router.find("PUT", "/b") is None
    assert router.find("GET", "/b/7/8") is None


def test_answer_hands_over_path_query_and_time() -> None:
    """A handler sees decoded parameters and the time it was told."""
    fake = _World(_route("/a/{x}"))
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


class _Desk:
    """Routes of a vendor that tells refusals by a number."""

    def __init__(self, handler: Any, guard: Any = None) -> None:
        self.counts: Counter[str] = Counter()
        self.told_at: list[float] = []
        (self.route,) = make_routes(
            [("GET", "/a", "a.get", Purpose.POLL, handler)], counts=self.counts, refuse=self._tell, guard=guard
        )

    def _tell(self, refused: Refused, now: float) -> Reply:
        self.told_at.append(now)
        return json_reply([*refused.args, refused.status], refused.status)

    def ask(self, now: float = 1.0) -> Any:
        request = Request(method="GET", url="/a", call="")
        return self.route.handler(Call(request=request, path={}, query={}, now=now))


def test_refusals_are_told_and_counted() -> None:
    """What a handler or the guard before it raises is told as the vendor does, and counted by its status."""

    def refuse(call: Call) -> Reply:
        raise Refused(404, "no", "such thing")

    def bar(call: Call) -> None:
        raise Refused(401)

    desk = _Desk(refuse)
    assert desk.ask().body == b'["no","such thing",404]'
    assert (desk.route.call, desk.route.purpose, desk.counts) == ("a.get", Purpose.POLL, {"refused_404": 1})
    barred = _Desk(refuse, guard=bar)
    assert barred.ask().body == b"[401]"
    assert barred.counts == {"refused_401": 1}
    assert _Desk(lambda call: Reply(200), guard=lambda call: None).ask() == Reply(200)


def test_what_is_owed_may_be_refused_later() -> None:
    """A refusal that comes up when an owed reply is due is told and counted like any other, with its own time."""

    def first(now: float) -> DelayedReply:
        return DelayedReply(until=5.0, reply=second, on_disconnect=dropped.append)

    def second(now: float) -> Reply:
        raise Refused(500)

    dropped: list[float] = []
    desk = _Desk(lambda call: DelayedReply(until=3.0, reply=first))
    owed = desk.ask()
    assert (owed.until, owed.on_disconnect) == (3.0, None)
    later = owed.reply(3.0)
    assert (later.until, later.on_disconnect) == (5.0, dropped.append)
    assert later.reply(5.5).status == 500
    assert (desk.counts, desk.told_at) == ({"refused_500": 1}, [5.5])


def test_answer_wants_a_reply_at_once() -> None:
    """What a world owes is no answer for who does not wait."""
    route = Route(
        method="GET",
        path="/a",
        call="a.get",
        purpose=Purpose.POLL,
        handler=lambda call: DelayedReply(until=1.0, reply=lambda now: Reply(200)),
    )
    request = Request(method="GET", url="http://h/a", call="a.get")
    with pytest.raises(TypeError, match=r"GET a\.get"):
        answer([_World(route)], request, now=0.0)
    assert isinstance(ask([_World(route)], request, now=0.0), DelayedReply)


class _Keeper(_World):
    """A world that knows its own unknown paths."""

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply | None:
        return Reply(405, {"at": str(now)}) if raw_path.startswith("/own/") else None


def test_worlds_answer_unknown_paths_of_their_own() -> None:
    """A world that has an answer for an unknown path gives it; the rest is nobody's."""
    fakes = [_World(_route("/a")), _Keeper(_route("/own/a"))]
    router = Router(fakes)
    assert [isinstance(fake, AnswersUnknownPaths) for fake in fakes] == [False, True]
    assert router.answer_unknown("GET", "/own/b", 2.0) == Reply(405, {"at": "2.0"})
    assert router.answer_unknown("GET", "/b", 2.0).status == 404
    assert answer(fakes, Request(method="PUT", url="http://h/own/a?x=1", call=""), now=1.0).status == 405
