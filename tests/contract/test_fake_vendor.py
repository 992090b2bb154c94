"""A fake server of a small vendor: what it needs beyond the parts that all have in common."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import (
    Call,
    Endpoint,
    FakeRun,
    FakeServer,
    FakeVendorWithInput,
    Refused,
    RunPlan,
    SendsWebhooks,
    StatusWords,
    Step,
    Timelines,
    Webhook,
    WebhookQueue,
    ask,
    has_key,
    hex_id,
    json_reply,
    make_routes,
    read_object,
    seeded,
)
from aioagents.model import Purpose, Reply, Request

_KEY = {"authorization": "Bearer k", "content-type": "application/json"}


class _FakeAcme(FakeVendorWithInput):
    """A vendor with one way to start a run, one to read it, and a webhook at its end."""

    vendor = "acme"
    counters = ("webhooks_planned",)

    def __init__(self, plan: RunPlan | None = None) -> None:
        super().__init__(plan)
        self._chance = seeded("acme", self.plan.seed)
        self._timelines = Timelines(self.plan, StatusWords(queued="waiting", running="busy"))
        self._runs: dict[str, FakeRun] = {}
        self._webhooks = WebhookQueue(self.counts)
        self._routes = make_routes(
            self._endpoints(), counts=self.counts, refuse=self._refuse, guard=self._permit
        )

    def environment(self, url: str) -> Mapping[str, str]:
        return {"ACME_BASE_URL": url, "ACME_API_KEY": "k"}

    def ended_at(self, run_id: str) -> float | None:
        return self._runs[run_id].ended_at if run_id in self._runs else None

    def next_webhook_at(self) -> float | None:
        return self._webhooks.next_at()

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        return self._webhooks.take_due(now)

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        return [encode_json({"id": self._webhooks.other_run(webhook.run) or "none", "status": "completed"})]

    def _endpoints(self) -> Iterator[Endpoint]:
        yield "POST", "/runs", "runs.start", Purpose.START, self._start
        yield "GET", "/runs/{id}", "runs.get", Purpose.POLL, self._get

    def _permit(self, call: Call) -> None:
        if not has_key(call, "k"):
            raise Refused(401, "no key")

    def _refuse(self, refused: Refused, now: float) -> Reply:
        return json_reply({"error": str(refused), "at": now}, refused.status)

    def _start(self, call: Call) -> Reply:
        body = read_object(call)
        timeline = self._timelines.make([body.require("agent", str)], self._chance)
        run = FakeRun(id=hex_id(self._chance, 8), created_at=call.now, timeline=timeline)
        self._runs[run.id] = run
        self.count_start(body.get("key", str))
        reply = self._reply(run, call.now)
        if url := body.url("webhook"):
            self._webhooks.plan(call, run, partial(self._webhook, run, url))
        return reply

    def _get(self, call: Call) -> Reply:
        run = self._runs.get(call.path["id"])
        if run is None:
            raise Refused(404, "no such run")
        self.counts["polls"] += 1
        return self._reply(run, call.now)

    def _reply(self, run: FakeRun, now: float) -> Reply:
        return json_reply({"id": run.id, "status": run.status_at(now)[1]})

    def _webhook(self, run: FakeRun, url: str, at: float) -> Webhook:
        return Webhook(url, self._reply(run, at).body, {}, at, run.id)


def _fake(seed: int = 0) -> _FakeAcme:
    script = [Step("waiting", 1), Step("busy", 4), Step("completed")]
    return _FakeAcme(RunPlan(seed=seed, scripts={"a": script, "endless": [Step("busy")]}))


def _ask(
    fake: _FakeAcme,
    path: str,
    body: Mapping[str, str] | None = None,
    *,
    now: float = 0.0,
    headers: Mapping[str, str] = _KEY,
) -> tuple[int, dict[str, str]]:
    request = Request(
        method="GET" if body is None else "POST",
        url=f"http://h{path}",
        call="",
        headers=headers,
        body=None if body is None else encode_json(body),
    )
    reply = ask([fake], request, now=now)
    assert isinstance(reply, Reply)
    return reply.status, decode_json(reply.body)


def test_it_is_a_fake_server() -> None:
    """A subclass has all that a fake server has, and no token to revoke."""
    server: FakeServer = _fake()
    assert isinstance(server, SendsWebhooks)
    assert (server.vendor, [route.call for route in server.routes]) == ("acme", ["runs.start", "runs.get"])
    assert server.revoke("Bearer k") is False


def test_it_counts() -> None:
    """All counters begin at 0; starts are counted by their key too, and refusals by their status."""
    fake = _fake()
    assert fake.statistics() == dict.fromkeys(("token_requests", "starts", "polls", "webhooks_planned"), 0)
    for key in ("x", "x", "y"):
        _ask(fake, "/runs", {"agent": "a", "key": key})
    _, run = _ask(fake, "/runs", {"agent": "a"})
    assert _ask(fake, f"/runs/{run['id']}", now=5.0) == (200, {"id": run["id"], "status": "completed"})
    assert _ask(fake, "/runs", {}, now=2.0) == (400, {"error": "agent has to be there", "at": 2.0})
    assert _ask(fake, "/runs/none", headers={})[0] == 401
    assert fake.starts_by_key == {"x": 2, "y": 1}
    assert fake.statistics() == {
        "token_requests": 0,
        "starts": 4,
        "polls": 1,
        "webhooks_planned": 0,
        "refused_400": 1,
        "refused_401": 1,
    }


def test_webhooks_are_due_at_the_ends() -> None:
    """The webhook of each run with a URL and an end is taken once, in the order of the ends."""
    fake, body = _fake(), {"agent": "a", "webhook": "http://h/1"}
    late, early = (_ask(fake, "/runs", body, now=now)[1]["id"] for now in (3.0, 1.0))
    _ask(fake, "/runs", {"agent": "endless", "webhook": "http://h/2"})
    _ask(fake, "/runs", {"agent": "a"})
    assert (fake.next_webhook_at(), fake.ended_at(early), fake.take_webhooks(5.9)) == (6.0, 6.0, [])
    first, second = fake.take_webhooks(9.0)
    assert [(each.run, each.at) for each in (first, second)] == [(early, 6.0), (late, 8.0)]
    assert decode_json(first.body) == {"id": early, "status": "completed"}
    assert (fake.next_webhook_at(), fake.take_webhooks(99.0)) == (None, [])
    assert fake.statistics()["webhooks_planned"] == 2
    assert [decode_json(each)["id"] for each in fake.false_bodies(first)] == [late]


@pytest.mark.parametrize("ends_at_start", [True, False])
def test_a_run_may_end_at_its_start(ends_at_start: bool) -> None:
    """The caller decides whether a run with a webhook ends at its start, with the webhook due then."""
    fake = _fake()
    request = Request(
        method="POST",
        url="/runs",
        call="",
        headers=_KEY,
        body=encode_json({"agent": "a", "webhook": "http://h/1"}),
    )
    asked: list[str] = []

    def should_end_at_start(run: str) -> bool:
        asked.append(run)
        return ends_at_start

    call = Call(request=request, path={}, query={}, now=2.0, should_end_at_start=should_end_at_start)
    reply = fake.routes[0].handler(call)
    assert isinstance(reply, Reply)
    assert decode_json(reply.body) == {"id": asked[0], "status": "waiting"}
    assert fake.next_webhook_at() == fake.ended_at(asked[0]) == (2.0 if ends_at_start else 7.0)


def test_ids_depend_on_the_seed_alone() -> None:
    """Servers with the same seed give the same ids, others do not."""
    ids = [_ask(_fake(seed=seed), "/runs", {"agent": "a"})[1]["id"] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
